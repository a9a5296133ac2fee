/* The picker: which version of PyTorch the outputs on a page are from.
 *
 * Runs in <head>, before anything is drawn. The choice is in the address (?torch=2.9),
 * else in the memory of the browser, else it is the newest recorded version, which is what
 * "pip install torch" brings. Without this script a page shows the pinned version.
 */
"use strict";

(() => {
  const KEY = "torch-export-cookbook-release";
  const { newest, releases } = document.currentScript.dataset;
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

  function choose(release) {
    root.dataset.torch = release;
    remember(release);
    reflect(release);
  }

  function change(release) {
    choose(release);
    document.querySelectorAll(".release-output").forEach(show);
    report();
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
