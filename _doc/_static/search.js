/* The search page. The index is Pagefind's, made by _ext/find/search.py.
 *
 * Nothing that a reader types becomes markup, and nothing is sent anywhere. A page that is
 * opened from a disk may not read the index: Sphinx's own search answers there.
 */
"use strict";

(() => {
  const SHOWN = 10;
  const WAIT = 150; // milliseconds after the last key

  const root = document.documentElement.dataset.content_root ?? "./";
  const form = document.querySelector("form.site-search");
  const box = form.querySelector("#search-text");
  const topic = form.querySelector("#search-topic");
  const status = document.querySelector("#search-status");
  const hits = document.querySelector("#search-hits");
  const more = document.querySelector("#search-more");
  const errors = document.querySelector(".search-errors");
  let asked = 0; // how many times was searched: a late answer to an old question is dropped
  let left = []; // results that are not shown yet

  function element(name, text, properties = {}) {
    const made = Object.assign(document.createElement(name), properties);
    made.textContent = text;
    return made;
  }

  /* An excerpt has escaped text and <mark>. Only these are taken over, as text. */
  function excerpt(markup) {
    const found = element("p", "", { className: "search-excerpt" });
    const { body } = new DOMParser().parseFromString(markup, "text/html");
    for (const { nodeName, textContent } of body.childNodes) {
      found.append(nodeName === "MARK" ? element("mark", textContent) : textContent);
    }
    return found;
  }

  /* The lines of an answer's change, as its page shows them. */
  function change(lines) {
    const block = element("pre", "", { className: "answer-change" });
    const kinds = { "-": "del", "+": "ins" };
    block.append(...lines.map((line) => element(kinds[line[0]] ?? "span", `${line}\n`)));
    return block;
  }

  function entry({ url, meta, excerpt: markup }) {
    const item = document.createElement("li");
    item.append(element("a", meta.title, { href: url }));
    if (meta.topic) {
      item.append(" ", element("span", meta.topic, { className: "search-topic" }));
    }
    item.append(
      meta.answer
        ? element("p", meta.answer, { className: "search-excerpt" })
        : excerpt(markup),
    );
    if (meta.change) item.append(change(JSON.parse(meta.change)));
    return item;
  }

  async function show(number) {
    const next = left.splice(0, SHOWN);
    const data = await Promise.all(next.map((result) => result.data()));
    if (number !== asked) return;
    hits.append(...data.map(entry));
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

  function count(number) {
    if (number) return [number === 1 ? "1 page" : `${number} pages`];
    if (!errors) return ["No page has all of this."];
    const link = element("a", "ask the error box", { href: errors.href });
    return ["No page has all of this. Search for less of it, or ", link, "."];
  }

  async function search(pagefind, topics) {
    const number = ++asked;
    const text = box.value.trim();
    reflect(text);
    const { results } = text ? await pagefind.search(text) : { results: [] };
    if (number !== asked) return;
    hits.replaceChildren();
    left = results.filter(({ id }) => !topic.value || topics[topic.value].includes(id));
    const found = left.length;
    await show(number);
    if (number !== asked) return;
    status.replaceChildren(...(text ? count(found) : []));
    form.dataset.answered = text; // what has been answered, for tests
  }

  async function start() {
    const pagefind = await import("../pagefind/pagefind.js");
    await pagefind.init();
    const topics = await (await fetch(`${root}pagefind/topics.json`)).json();
    topic.append(...Object.keys(topics).map((name) => new Option(name, name)));
    topic.value = new URLSearchParams(location.search).get("topic") ?? "";
    if (topic.selectedIndex < 0) topic.value = "";
    let timer;
    const soon = (wait) => () => {
      clearTimeout(timer);
      timer = setTimeout(search, wait, pagefind, topics);
    };
    box.addEventListener("input", soon(WAIT));
    topic.addEventListener("change", soon(0));
    more.addEventListener("click", async () => {
      const first = hits.children.length;
      await show(asked);
      hits.children[first]?.querySelector("a").focus();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      soon(0)();
    });
    await search(pagefind, topics);
  }

  function load(name) {
    return new Promise((resolve, reject) => {
      const script = element("script", "", { src: `${root}${name}` });
      script.onload = resolve;
      script.onerror = reject;
      document.body.append(script);
    });
  }

  /* Sphinx's search reads the question from the address. */
  async function startFromDisk() {
    topic.labels[0].hidden = topic.hidden = true;
    status.textContent =
      "This page was opened from a disk, where a browser may not read the index of code " +
      "and outputs: titles and prose are searched.";
    await load("_static/language_data.js");
    await load("_static/searchtools.js");
    await load("searchindex.js");
  }

  form.hidden = false;
  box.value = new URLSearchParams(location.search).get("q") ?? "";
  box.focus();
  const starting = location.protocol === "file:" ? startFromDisk() : start();
  starting.catch(() => {
    status.textContent = "The index could not be loaded.";
  });
})();
