/* The box for errors: show the recipes that answer a text.
 *
 * errors-match.js finds them; the page "How errors are matched" explains how. Nothing
 * that a reader pastes becomes markup, and nothing is sent anywhere.
 */
"use strict";

(() => {
  const WAIT = 150; // milliseconds after the last key
  const FEW = 80; // characters that may be words to search for, and no message
  const WORDS = 600; // characters of a text that the search is asked
  const PAGES = 3; // of the search that are shown

  function element(name, text, properties = {}) {
    const made = Object.assign(document.createElement(name), properties);
    made.textContent = text;
    return made;
  }

  /* Return the address of a page, which depends on how Sphinx was told to build. */
  function address(name) {
    return DOCUMENTATION_OPTIONS.BUILDER === "dirhtml" ? `${name}/` : `${name}.html`;
  }

  /* Name releases in a row by the first and the last: 2.6 – 2.8, 2.10. */
  function spans(releases, order) {
    const rows = [];
    for (const release of releases) {
      const last = rows.at(-1);
      if (last && order.indexOf(last.at(-1)) + 1 === order.indexOf(release)) {
        last.push(release);
      } else rows.push([release]);
    }
    const name = (row) => (row.length > 1 ? `${row[0]} – ${row.at(-1)}` : row[0]);
    return rows.map(name).join(", ");
  }

  /* What to do: the answer of a recipe, with links to the fix and to the symptom. */
  function answered({ answer, id, page, title }, cell, root, order) {
    const block = element("pre", "", { className: "answer-change" });
    const kinds = { "-": "del", "+": "ins" };
    block.append(
      ...answer.change.map((line) => element(kinds[line[0]] ?? "span", `${line}\n`)),
    );
    const links = element("p", "", { className: "error-links" });
    links.append(element("a", "The fix", { href: `${root}${page}#${answer.fix}` }));
    if (cell) {
      links.append(element("a", "The error reproduced", { href: `${root}${page}${cell}` }));
    }
    if (id) links.append(element("span", id, { className: "recipe-id" }));
    const facts = [];
    if (answer.cost) facts.push(`Cost: ${answer.cost}`);
    if (answer.works.length) {
      facts.push(`Works with PyTorch ${spans(answer.works, order)}.`);
    }
    return [
      element("a", title, { href: `${root}${page}#answer`, className: "error-title" }),
      element("p", answer.cause, { className: "error-advice" }),
      block,
      element("p", facts.join(" "), { className: "error-facts" }),
      links,
    ];
  }

  // Why an answer is shown, where that is not the message alone.
  const REASONS = {
    also: "The same message has other causes:",
    frames: "Your traceback goes through:",
    other: "Your text has another message:",
    wrapper: "This stands around any cause:",
    searched: "No known message. The search finds:",
  };

  function reason({ certain, usual, isOpen, why, words }) {
    if (why === "id") return "The recipe of this id:";
    if (usual) return "Exact message, its most frequent cause:";
    if (certain) return "Exact match";
    if (isOpen) return "One of several causes of this message:";
    if (words) return `Words in common: ${words.join(", ")}`;
    return REASONS[why] ?? "Not certain:";
  }

  /* The message that matched or came close, and where it was seen. */
  function quoted({ message, quote, why }, order) {
    const said = quote ?? message?.message;
    if (!said) return [];
    const seen = message ? `Seen with PyTorch ${spans(message.releases, order)}` : "";
    const isPrinted = message && message.printed !== false;
    const hint = isPrinted || why === "frames" ? [] : ["Not reproduced on the page"];
    const words = [...(seen ? [seen] : []), ...hint].join(". ");
    return [
      element("code", said.split("\n").slice(0, 2).join("\n").slice(0, 300)),
      element("span", words, { className: "error-releases" }),
    ];
  }

  function entry(answer, root, order) {
    const { recipe, message, certain, usual } = answer;
    const item = document.createElement("li");
    item.dataset.certain = certain ? (usual ? "usual" : "yes") : "no";
    item.append(element("p", reason(answer), { className: "error-reason" }));
    const cell = message?.cell ? `#${message.cell}` : "";
    if (recipe.answer) {
      const printed = message?.printed === false ? "" : cell;
      item.append(...answered(recipe, printed, root, order));
    } else {
      const href = `${root}${recipe.page}${cell}`;
      item.append(
        element("a", recipe.title, { href, className: "error-title" }),
        element("p", recipe.advice, { className: "error-advice" }),
      );
    }
    item.append(...quoted(answer, order));
    return item;
  }

  function start() {
    const form = document.querySelector("form.error-box");
    if (!form) return;
    const root = document.documentElement.dataset.content_root ?? "./";
    const box = form.querySelector("#error-text");
    const list = form.querySelector("#error-matches");
    const status = form.querySelector("#error-status");
    let index;
    let timer;

    const script = (name) =>
      new Promise((onload, onerror) => {
        const src = `${root}_static/${name}.js`;
        document.head.append(element("script", "", { src, onload, onerror }));
      });

    /* The indexes are scripts of their own, loaded when they are needed. */
    async function loading() {
      await script("errors-index");
      const prepared = cookbookMatch.prepare(globalThis.cookbookErrors);
      setTimeout(() => cookbookMatch.rank(prepared, "")); // it prepares the ranks
      return prepared;
    }
    async function loadingPages() {
      await Promise.all([script("search-index"), script("search-rank")]);
      return cookbookRank.prepare(globalThis.cookbookSearch);
    }
    let loaded;
    let pages;
    const load = () => (loaded ??= loading());
    const loadPages = () => (pages ??= loadingPages());

    async function answer() {
      try {
        index ??= await load();
      } catch {
        status.textContent = "The index of messages could not be loaded.";
        return;
      }
      const text = box.value.trim();
      const release = document.documentElement.dataset.torch ?? "";
      const { certain, answers, link, words } = cookbookMatch.answer(index, text, release);
      if (!answers.length) answers.push(...(await searched(text, words)));
      if (text !== box.value.trim()) return; // the search came late
      list.replaceChildren(...answers.map((each) => entry(each, root, index.releases)));
      status.textContent = "";
      if (answers.length) {
        if (!certain) status.append("No exact match. Closest recipes: ");
        status.append(linkTo(link));
      } else if (text) status.append(...nothing(text));
      form.dataset.answered = text.length; // what has been answered, for tests
    }

    /* A link to this answer, for others: with the part of the text that matched. */
    function linkTo(text) {
      const query = new URLSearchParams({ q: text });
      return element("a", "Link to this answer", {
        href: `${root}${address("errors")}?${query}`,
      });
    }

    /* A title or words of a reader are no message of torch: the search may know them. */
    async function searched(text, words) {
      if (!cookbookMatch.speaks(text)) return [];
      const known = await loadPages();
      return cookbookRank
        .search(known, words.slice(0, WORDS))
        .pages.filter(({ name }) => index.byName.has(name))
        .slice(0, PAGES)
        .map(({ name }) => ({ recipe: index.byName.get(name), why: "searched" }));
    }

    /* Words that are no message are better looked for in the search. */
    function nothing(text) {
      const query = text.length <= FEW ? `?${new URLSearchParams({ q: text })}` : "";
      return [
        "No recipe matches. Look into the tables of ",
        element("a", "the topics", { href: `${root}${address("topics/start-here")}` }),
        ", or use the ",
        element("a", "search", { href: `${root}${address("search")}${query}` }),
        ".",
      ];
    }

    box.addEventListener("focus", load, { once: true });
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(answer, WAIT);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    const asked = new URLSearchParams(location.search).get("q");
    if (asked) {
      box.value = asked;
      answer();
    }
  }

  start();
})();
