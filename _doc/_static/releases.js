/* The picker: which version of PyTorch the outputs on a page are from.
 *
 * Runs in <head>, before anything is drawn. The choice is in the address (?torch=2.9),
 * else in the memory of the browser, else it is the newest recorded version, which is what
 * "pip install torch" brings. Without this script a page shows the pinned version.
 */
"use strict";

(() => {
  const KEY = "torch-export-cookbook-release";
  const { src } = document.currentScript;
  const { newest, releases, documented } = document.currentScript.dataset;
  const root = document.documentElement;

  const known = (release) => (releases.split(" ").includes(release) ? release : null);
  const names = (element) => element.dataset.torch.split(" ");

  /* Memory may be forbidden: undefined then, and null where nothing is remembered. */
  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return undefined;
    }
  }

  function remember(release) {
    try {
      if (release === newest) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, release);
    } catch {
      /* The address still carries the choice. */
    }
  }

  /* The address wins, unless the reader comes back to a page that has an old one. */
  function choice(isBack) {
    const memory = remembered();
    const address = known(new URLSearchParams(location.search).get("torch"));
    if (isBack && memory !== undefined) return known(memory) ?? newest;
    return address ?? known(memory) ?? newest;
  }

  function reflect(release) {
    const address = new URL(location.href);
    if (release === newest) address.searchParams.delete("torch");
    else address.searchParams.set("torch", release);
    if (address.href !== location.href) history.replaceState(history.state, "", address);
  }

  function show(output) {
    const chosen = names(output).includes(root.dataset.torch);
    output.open = chosen;
    output.toggleAttribute("data-chosen", chosen);
  }

  /* Say what there is to say about the chosen version on this page. */
  function report() {
    const status = document.querySelector(".release-status");
    if (!status) return;
    const lines = [...document.querySelectorAll(".release-tested li")];
    const line = lines.find((each) => names(each).includes(root.dataset.torch));
    status.textContent = line?.dataset.say ?? "";
    document.querySelector("#release-choice").value = root.dataset.torch;
  }

  /* Where the documentation of earlier versions has what the links are about. It is made by
   * _ext/show/picker.py, and loaded once, by those who have chosen such a version. */
  let places;
  function load() {
    places ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = src.replace("releases.js", "release-links.js");
      script.onload = () => resolve(globalThis.cookbookDocs);
      script.onerror = reject;
      document.head.append(script);
    });
    return places;
  }

  const isDocumented = (release) =>
    release !== newest && documented.split(" ").includes(release);

  const links = new Map(); // each link to torch's documentation, as it was made

  /* What a link is for a version: as it was made where nobody knows more. */
  function leading({ address, torch }, release, made) {
    const [page, anchor] = made.href.slice(address.replace("{}", "stable").length).split("#");
    const name = anchor?.replace(/^module-/, "");
    const key = [name, page].find((each) => each in torch[release]);
    const place = key === undefined ? page : torch[release][key];
    if (place === "") return made;
    const documentation = `the documentation of PyTorch ${release}`;
    if (place === null) return { ...made, title: `Not in ${documentation}; this leads to the newest` };
    const full = anchor && !place.includes("#") ? `${place}#${anchor}` : place;
    const href = address.replace("{}", release) + full;
    return { href, title: `${name ?? page} in ${documentation}` };
  }

  /* Lead to the documentation of the chosen version, where it is known. */
  async function lead(release) {
    const known = isDocumented(release);
    if (!known && !links.size) return;
    const docs = await load().catch(() => null); // the links lead somewhere all the same
    if (!docs || root.dataset.torch !== release) return;
    const stable = docs.address.replace("{}", "stable");
    for (const link of document.querySelectorAll(`a[href^="${stable}"]`)) {
      const { href, title } = link;
      if (!links.has(link)) links.set(link, { href, title });
    }
    links.forEach((made, link) => Object.assign(link, known ? leading(docs, release, made) : made));
  }

  function choose(release) {
    root.dataset.torch = release;
    if (isDocumented(release)) load().catch(() => null);
    remember(release);
    reflect(release);
  }

  function change(release) {
    choose(release);
    document.querySelectorAll(".release-output").forEach(show);
    report();
    lead(release);
  }

  const [navigation] = performance.getEntriesByType("navigation");
  choose(choice(navigation?.type === "back_forward"));

  /* Outputs are opened and folded while the page is parsed, so that nothing jumps. */
  const parsing = new MutationObserver((records) => {
    for (const { addedNodes } of records) {
      for (const node of addedNodes) {
        if (node.matches?.(".release-output")) show(node);
      }
    }
  });
  parsing.observe(root, { childList: true, subtree: true });

  document.addEventListener("DOMContentLoaded", () => {
    parsing.disconnect();
    const select = document.querySelector("#release-choice");
    select?.addEventListener("change", () => change(select.value));
    change(root.dataset.torch);
  });

  addEventListener("pageshow", (event) => {
    if (event.persisted) change(choice(true));
  });
})();
