/* The search page: show what search-rank.js finds, and what the finder for errors is sure of.
 *
 * Nothing that a reader types becomes markup, and nothing is sent anywhere. The indexes are
 * scripts, so that a page that is opened from a disk can load them, too.
 */
"use strict";

(() => {
  const SHOWN = 10;
  const WAIT = 150; // milliseconds after the last key
  const MESSAGE = 3; // words that may be a message, and not only a name or two

  const root = document.documentElement.dataset.content_root ?? "./";
  const form = document.querySelector("form.site-search");
  const box = form.querySelector("#search-text");
  const topic = form.querySelector("#search-topic");
  const status = document.querySelector("#search-status");
  const hits = document.querySelector("#search-hits");
  const more = document.querySelector("#search-more");
  const errors = document.querySelector(".search-errors");
  const index = cookbookRank.prepare(cookbookSearch);
  let asked = 0; // how many times was searched: a late answer to an old question is dropped
  let left = []; // pages that are not shown yet
  let messages; // what the finder knows, once it is loaded

  function element(name, text, properties = {}) {
    const made = Object.assign(document.createElement(name), properties);
    made.textContent = text;
    return made;
  }

  /* The lines of an answer's change, as its page shows them. */
  function change(lines) {
    const properties = { ariaLabel: "The change", className: "answer-change", role: "group" };
    const block = element("pre", "", { ...properties, tabIndex: 0 }); // long lines scroll
    const kinds = { "-": "del", "+": "ins" };
    block.append(...lines.map((line) => element(kinds[line[0]] ?? "span", `${line}\n`)));
    return block;
  }

  function entry(page) {
    const item = document.createElement("li");
    item.append(element("a", page.title, { href: `${root}${page.url}` }));
    if (page.topic) {
      item.append(" ", element("span", page.topic, { className: "search-topic" }));
    }
    if (page.certain) {
      item.append(" ", element("span", "Exact match of the message", { className: "search-exact" }));
    }
    item.append(element("p", page.answer, { className: "search-excerpt" }));
    if (page.change?.length) item.append(change(page.change));
    return item;
  }

  function show() {
    hits.append(...left.splice(0, SHOWN).map(entry));
    more.hidden = !left.length;
  }

  function reflect(text) {
    const address = new URL(location.href);
    for (const name of ["check_keywords", "area"]) address.searchParams.delete(name);
    const parts = { q: text, topic: topic.value };
    for (const [name, value] of Object.entries(parts)) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    history.replaceState(history.state, "", address);
    if (errors) errors.search = text ? new URLSearchParams({ q: text }) : "";
  }

  /* Say how much was found, and what is nowhere. */
  function said(number, nowhere) {
    const words = nowhere.length ? [`Nowhere on this site: ${nowhere.join(", ")}. `] : [];
    if (number) return [...words, number === 1 ? "1 page" : `${number} pages`];
    words.push("No page answers this.");
    if (!errors) return words;
    const link = element("a", "ask the error box", { href: errors.href });
    return [...words, " Search for less of it, or ", link, "."];
  }

  function load(name) {
    return new Promise((resolve, reject) => {
      const script = element("script", "", { src: `${root}${name}` });
      script.onload = resolve;
      script.onerror = reject;
      document.body.append(script);
    });
  }

  /* The names of the recipes that answer a message, where that is certain. */
  async function answering(text) {
    if (!errors || text.split(/\s+/).length < MESSAGE) return [];
    try {
      messages ??= load("_static/errors-index.js").then(() =>
        cookbookMatch.prepare(globalThis.cookbookErrors),
      );
      const { answers } = cookbookMatch.answer(await messages, text);
      return answers.filter(({ certain }) => certain).map(({ recipe }) => recipe.name);
    } catch {
      return []; // the pages that were found are shown all the same
    }
  }

  async function search() {
    const number = ++asked;
    const text = box.value.trim();
    reflect(text);
    const { pages, nowhere } = cookbookRank.search(index, text);
    const certain = await answering(text);
    if (number !== asked) return;
    const exact = index.pages
      .filter(({ name }) => certain.includes(name))
      .map((page) => ({ ...page, certain: true }));
    const others = pages.filter(({ name }) => !name || !certain.includes(name));
    left = [...exact, ...others].filter((page) => !topic.value || page.topic === topic.value);
    status.replaceChildren(...(text ? said(left.length, exact.length ? [] : nowhere) : []));
    hits.replaceChildren();
    show();
    form.dataset.answered = text; // what has been answered, for tests
  }

  const known = new Set(index.pages.map((page) => page.topic).filter(Boolean));
  topic.append(...[...known].sort().map((name) => new Option(name, name)));
  const parameters = new URLSearchParams(location.search);
  topic.value = parameters.get("topic") ?? "";
  if (topic.selectedIndex < 0) topic.value = "";
  box.value = parameters.get("q") ?? "";
  let timer;
  const soon = (wait) => () => {
    clearTimeout(timer);
    timer = setTimeout(search, wait);
  };
  box.addEventListener("input", soon(WAIT));
  topic.addEventListener("change", soon(0));
  more.addEventListener("click", () => {
    const first = hits.children.length;
    show();
    hits.children[first]?.querySelector("a").focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    soon(0)();
  });
  form.hidden = false;
  box.focus();
  search();
})();
