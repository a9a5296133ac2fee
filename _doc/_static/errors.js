/* The box for errors: find the recipes that answer a text.
 *
 * What it does, and the figures in it, are explained on the page "How errors are matched".
 * Nothing that a reader pastes becomes markup, and nothing is sent anywhere.
 */
"use strict";

(() => {
  const LONGEST = 30000; // characters of a text that are read, from each end
  const SHOWN = 5;
  const WAIT = 150; // milliseconds after the last key

  /* Split a text into words; numbers are "#", symbols of sizes are "sym". */
  function words(text) {
    const plain = text
      .replace(/\x1b\[[0-9;]*m|\[\d+m/g, "")
      .replace(/^\s*> ?/gm, "")
      .replace(/^Traceback \(most recent call last\):$/gm, "")
      .replace(/^\s*File "[^"]*", line \d+.*(\n {4}.*)?$/gm, "")
      .replace(/^[IWEV]\d{4} [\d:.]+ +\d+ \S+\]/gm, " ")
      .replace(/0x[0-9a-f]+/gi, " ")
      .replace(/\b(?:\w+\.)+(?=[A-Z])/g, "") // torch._dynamo.exc.UserError
      .toLowerCase()
      .replace(/\b(?:zuf|zf|u|s)\d+\b/g, " sym ");
    const found = plain.match(/[a-z_]+|\/\/|[=!<>]=|[-+*\/%<>]|\d+/g) ?? [];
    return found.map((word) => (/^\d/.test(word) ? "#" : word));
  }

  /* Return the words and the pairs of neighbours. */
  function terms(text) {
    const list = words(text);
    const found = new Set();
    list.forEach((word, i) => {
      if (word !== "#") found.add(word);
      if (i) found.add(`${list[i - 1]} ${word}`);
    });
    found.delete("# #");
    return found;
  }

  /* Prepare the index: its texts, the weight of each term, and where each term is. */
  function prepare({ recipes, releases }) {
    const texts = [];
    recipes.forEach((recipe, number) => {
      const add = (text, factor, message) =>
        texts.push({ recipe: number, text, factor, message, terms: terms(text) });
      const first = recipe.messages[0]?.cell;
      for (const message of recipe.messages) {
        const name = message.type.split(".").pop();
        add(`${name} ${message.message}`, message.cell === first ? 1.15 : 1, message);
      }
      for (const text of recipe.wordings) add(text, 1.1, { message: text });
      add(`${recipe.title}. ${recipe.symptom}`, 0.5);
      add(recipe.keywords.join(". "), 0.5);
    });
    const having = new Map();
    for (const { recipe, terms } of texts) {
      for (const term of terms) {
        if (!having.has(term)) having.set(term, new Set());
        having.get(term).add(recipe);
      }
    }
    const weight = (term) =>
      Math.log(1 + recipes.length / (having.get(term)?.size ?? 1)) *
      (term.includes(" ") ? 1 : 0.5);
    const places = new Map();
    for (const text of texts) {
      text.weight = 0;
      for (const term of text.terms) {
        text.weight += weight(term);
        if (!places.has(term)) places.set(term, []);
        places.get(term).push(text);
      }
    }
    return { recipes, releases, weight, places };
  }

  /* Rank the recipes for a text: a list of {recipe, message, score, confident}. */
  function rank(index, query) {
    const text =
      query.length > 2 * LONGEST
        ? `${query.slice(0, LONGEST)}\n${query.slice(-LONGEST)}`
        : query;
    const shared = new Map();
    let all = 0;
    let used = 0;
    for (const term of terms(text)) {
      const weight = index.weight(term);
      all += weight;
      if (index.places.has(term)) used += weight;
      for (const place of index.places.get(term) ?? []) {
        shared.set(place, (shared.get(place) ?? 0) + weight);
      }
    }
    const answers = new Map();
    for (const [place, weight] of shared) {
      const score = weight * (weight / place.weight) ** 0.35 * place.factor;
      const none = { best: 0, more: 0, whole: 0 };
      const answer = answers.get(place.recipe) ?? none;
      answers.set(place.recipe, answer);
      if (!place.message) answer.more += score;
      else if (score > answer.best) {
        answer.best = score;
        answer.message = place.message;
        answer.whole = Math.max(weight / place.weight, weight / all);
      }
    }
    return [...answers]
      .map(([recipe, { best, more, message, whole }]) => {
        const score = best + more;
        const confident =
          score >= 21 || (score >= 13 && whole >= 0.75) || (score >= 6 && whole >= 0.9);
        return { recipe: index.recipes[recipe], message, score, confident };
      })
      .sort((a, b) => b.score - a.score);
  }

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
  function answered({ answer, page, title }, cell, root, order) {
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

  function entry({ recipe, message }, root, order) {
    const item = document.createElement("li");
    const cell = message?.cell ? `#${message.cell}` : "";
    if (recipe.answer) item.append(...answered(recipe, cell, root, order));
    else {
      const href = `${root}${recipe.page}${cell}`;
      item.append(
        element("a", recipe.title, { href, className: "error-title" }),
        element("p", recipe.advice, { className: "error-advice" }),
      );
    }
    if (message) {
      const text = message.message.split("\n").slice(0, 2).join("\n").slice(0, 300);
      item.append(element("code", text));
    }
    if (message?.releases) {
      const words = `Seen with PyTorch ${spans(message.releases, order)}`;
      item.append(element("span", words, { className: "error-releases" }));
    }
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

    /* The index is a script of its own, loaded when it is needed. */
    const loading = () =>
      new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `${root}_static/errors-index.js`;
        script.onload = () => resolve(prepare(globalThis.cookbookErrors));
        script.onerror = reject;
        document.head.append(script);
      });
    let loaded;
    const load = () => (loaded ??= loading());

    async function answer() {
      try {
        index ??= await load();
      } catch {
        status.textContent = "The index of messages could not be loaded.";
        return;
      }
      const text = box.value.trim();
      const found = text ? rank(index, text) : [];
      const least = found.length ? found[0].score / 3 : 0;
      const good = found[0]?.confident
        ? found.filter((each) => each.score >= least).slice(0, SHOWN)
        : [];
      list.replaceChildren(...good.map((each) => entry(each, root, index.releases)));
      status.textContent = "";
      if (good.length) status.append(link(text));
      else if (text) status.append(...nothing());
      form.dataset.answered = text.length; // what has been answered, for tests
    }

    /* A link to this answer, for others. */
    function link(text) {
      const query = new URLSearchParams({ q: text.slice(-4000) });
      return element("a", "Link to this answer", {
        href: `${root}${address("errors")}?${query}`,
      });
    }

    function nothing() {
      return [
        "No exact match. Look into the tables of ",
        element("a", "the topics", { href: `${root}${address("topics/start-here")}` }),
        ", or use the ",
        element("a", "search", { href: `${root}${address("search")}` }),
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

  globalThis.cookbookRank = { prepare, rank };
  start();
})();
