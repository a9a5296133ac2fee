/* The release picker: which release of torch the outputs on a page are from.
 *
 * Runs in <head>, before anything is drawn. The choice is in the address (?torch=2.9),
 * else in the memory of the browser, else it is the release that the site is built with.
 */
"use strict";

(() => {
  const KEY = "torch-export-cookbook-release";
  const { pinned, releases } = document.currentScript.dataset;
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
      if (release === pinned) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, release);
    } catch {
      /* The address still carries the choice. */
    }
  }

  /* The address wins, unless the reader comes back to a page that has an old one. */
  function choice(isBack) {
    const memory = remembered();
    const address = known(new URLSearchParams(location.search).get("torch"));
    if (isBack && memory !== undefined) return known(memory) ?? pinned;
    return address ?? known(memory) ?? pinned;
  }

  function reflect(release) {
    const address = new URL(location.href);
    if (release === pinned) address.searchParams.delete("torch");
    else address.searchParams.set("torch", release);
    if (address.href !== location.href) history.replaceState(history.state, "", address);
  }

  function show(output) {
    const chosen = names(output).includes(root.dataset.torch);
    output.open = chosen;
    output.toggleAttribute("data-chosen", chosen);
  }

  /* Say what the page shows; on a page without outputs, what other pages show. */
  function report() {
    const status = document.querySelector(".release-status");
    const release = root.dataset.torch;
    let words = release === pinned ? "" : `${status.dataset.default} ${release}.`;
    for (const line of document.querySelectorAll(".release-verified li")) {
      const chosen = names(line).includes(release);
      line.toggleAttribute("data-chosen", chosen && release !== pinned);
      if (chosen && release !== pinned) words = line.dataset.say;
    }
    status.textContent = words;
    document.querySelector("#release-choice").value = release;
  }

  function choose(release) {
    root.dataset.torch = release;
    root.toggleAttribute("data-torch-other", release !== pinned);
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
    select.addEventListener("change", () => change(select.value));
    document.querySelector(".release-reset").addEventListener("click", () => {
      change(pinned);
      select.focus();
    });
    change(root.dataset.torch);
  });

  addEventListener("pageshow", (event) => {
    if (event.persisted) change(choice(true));
  });
})();
