/* The ranking of the search: functions of the index and a question, and nothing else.
 *
 * The index is made by _ext/find/search.py. A word counts for where it stands (the title
 * most, the rest of the page least) and for how few pages have it; of a question, most
 * words suffice, and stop words do not count.
 */
"use strict";

(() => {
  // How much a word says about a page, by where it stands.
  const FIELDS = { title: 5, keywords: 4, seen: 3.5, answer: 2.5, messages: 1.5, body: 0.5 };
  const HALF = 4; // a word that stands where this is reached counts half of all it can
  const PARTS = 0.7; // the parts of a name, where nobody has the whole name
  const PHRASE = 1; // the title, a keyword or a symptom that was asked as a whole
  const OTHER = 0.5; // a page that is no recipe
  const ENOUGH = 0.5; // the share of the words that a page has to have
  const LEAST = 0.2; // of the score of the best page

  const STOP = new Set(
    `a about after all also am an and any anymore are as at be because been but by can cannot
    cant could did do does doesn doesnt doing dont during each even for from get gets getting
    give gives given had has have how i in into is isnt it its just like make makes made
    me more most must my need needs no not of off on only or other our out over own please
    should so some something such than that the their them then there these they this
    those through to too under up us use used using very want was way we were what when
    where which while who why will with without work works would you your`.split(/\s+/),
  );
  // What readers say, and what the recipes call the same.
  const ALSO = new Map(
    Object.entries({
      amp: "autocast",
      argument: "input",
      average: "mean",
      axis: "dimension",
      bad: "wrong",
      beam: "generate",
      bert: "transformers",
      bf16: "bfloat16",
      bound: "range",
      broken: "wrong",
      conditional: "branch",
      coreml: "coremltools",
      correct: "right",
      cuda: "device",
      dict: "dictionary",
      different: "differ",
      disk: "file",
      effect: "ignored",
      filter: "mask",
      finetune: "train",
      fixed: "constant",
      fp16: "float16",
      frozen: "constant",
      generation: "generate",
      gpt: "llm",
      gpt2: "llm",
      gpu: "device",
      guess: "infer",
      hello: "first",
      hf: "transformers",
      huggingface: "transformers",
      incorrect: "wrong",
      inplace: "place",
      int: "integer",
      integer: "int",
      introduction: "first",
      iterate: "loop",
      iteration: "loop",
      len: "length",
      modify: "mutate",
      multithreading: "thread",
      op: "operator",
      parallel: "thread",
      quickstart: "first",
      resolution: "size",
      same: "equal",
      seq: "sequence",
      started: "first",
      static: "constant",
      test: "check",
      tied: "same",
      tune: "train",
      tutorial: "first",
      validate: "check",
      variable: "dynamic",
      varying: "dynamic",
      verify: "check",
      yolo: "detector",
    }).map((words) => words.map(stem)),
  );

  /* Cut off what makes a plural, a participle, a gerund, an adverb or a noun of a verb. */
  function stem(word) {
    if (word.length < 5 || /[._\d]/.test(word)) return word.replace(/(?<=\w{3}[^s])s$/, "");
    return word
      .replace(/ie[sd]$/, "y")
      .replace(/(?<=[^s])s$/, "")
      .replace(/ation$/, "at")
      .replace(/izat$/, "iz")
      .replace(/ally$/, "")
      .replace(/(?<=\w{3})(?:ing|ed)$/, "")
      .replace(/([bdgklmnprt])\1$/, "$1")
      .replace(/e$/, "");
  }

  /* The parts of a name: torch.cond, batch_size, DynamicCache. */
  function parts(name) {
    return name
      .split(/[._]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/)
      .filter((part) => part && part !== name);
  }

  /* The words of a text, each {whole, parts, shown}; numbers are words. */
  function read(text) {
    const found = text.match(/[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\+\+)?|\d+/g) ?? [];
    return found.map((shown) => ({
      shown,
      whole: stem(shown.toLowerCase()),
      parts: parts(shown).map((part) => stem(part.toLowerCase())),
    }));
  }

  const counts = ({ shown }) => !STOP.has(shown.toLowerCase());

  /* All terms of a text: words, and parts of names. */
  function terms(text) {
    const list = read(text).filter(counts);
    return new Set(list.flatMap(({ whole, parts }) => [whole, ...parts]));
  }

  function prepare({ pages }) {
    const weights = new Map(); // of each term on each page, by its number
    const known = new Set(); // names as they stand somewhere
    const add = (term, number, weight) => {
      if (!weights.has(term)) weights.set(term, new Map());
      const of = weights.get(term);
      of.set(number, (of.get(number) ?? 0) + weight);
    };
    pages.forEach((page, number) => {
      for (const [field, weight] of Object.entries(FIELDS)) {
        const text = [page[field] ?? ""].flat().join(" . ");
        for (const term of terms(text)) add(term, number, weight);
        for (const name of text.toLowerCase().match(/\w+/g) ?? []) known.add(name);
      }
    });
    const phrases = pages.map(({ title, keywords = [], seen = [] }) =>
      [title, ...keywords, ...seen].map((text) => read(text).filter(counts).map((w) => w.whole)),
    );
    return { pages, weights, known, phrases };
  }

  /* A page has a word the more, the more that says about the page. */
  const having = (weight) => weight / (weight + HALF);

  /* A word says the more, the fewer pages have it. */
  function rarity(index, of) {
    const pages = [...of.values()].reduce((all, weight) => all + having(weight), 0);
    return Math.log(1 + index.pages.length / pages);
  }

  /* The pages that have a term: [number, score], and what the term could add at most. */
  function holding(index, term) {
    const of = index.weights.get(term);
    if (!of) return { found: new Map(), most: 0 };
    const most = rarity(index, of);
    const scored = [...of].map(([number, weight]) => [number, most * having(weight)]);
    return { found: new Map(scored), most };
  }

  /* The same of a word: as a whole, by its parts, or by what others call it. */
  function scores(index, { whole, parts }, isLast) {
    const terms = [whole, ALSO.get(whole) ?? whole];
    if (isLast && !index.weights.has(whole) && whole.length > 2) {
      // It may not be typed to its end yet.
      terms.push(...[...index.weights.keys()].filter((term) => term.startsWith(whole)));
    }
    const all = terms.map((term) => holding(index, term));
    const pieces = (index.weights.has(whole) ? [] : parts).map((part) => holding(index, part));
    const found = new Map();
    const raise = (number, score) => found.set(number, Math.max(score, found.get(number) ?? 0));
    for (const each of all) each.found.forEach((score, number) => raise(number, score));
    for (const number of pieces[0]?.found.keys() ?? []) {
      const some = pieces.map((piece) => piece.found.get(number) ?? 0);
      if (some.every(Boolean)) raise(number, PARTS * some.reduce((a, b) => a + b));
    }
    return found;
  }

  /* Tell whether nothing on the site is called like a word of the question. */
  function isNowhere(index, word, found) {
    if (found.size) return false;
    const names = word.shown.toLowerCase().match(/\w+/g);
    return !names.every((name) => index.known.has(name));
  }

  /* What it adds that a phrase of a page has, in any order, what was asked. */
  function phrased(index, phrases, asked) {
    const values = phrases.map((phrase) => {
      const had = phrase.filter((term) => asked.has(term));
      if (had.length < 2) return 0;
      const sum = had.reduce((all, term) => all + holding(index, term).most, 0);
      return sum * (had.length / phrase.length) ** 2;
    });
    return PHRASE * Math.max(0, ...values);
  }

  /* Answer a question: the pages, best first, and the words that are nowhere. */
  function search(index, question) {
    const asked = read(question);
    const meant = asked.some(counts) ? asked.filter(counts) : asked;
    const totals = new Map();
    const nowhere = [];
    meant.forEach((word, i) => {
      const found = scores(index, word, i === meant.length - 1);
      if (isNowhere(index, word, found)) nowhere.push(word.shown);
      found.forEach((score, number) => {
        const total = totals.get(number) ?? { sum: 0, had: 0 };
        totals.set(number, { sum: total.sum + score, had: total.had + 1 / meant.length });
      });
    });
    const wholes = new Set(meant.flatMap(({ whole }) => [whole, ALSO.get(whole) ?? whole]));
    const ranked = [...totals]
      .filter(([, { had }]) => had >= ENOUGH)
      .map(([number, { sum, had }]) => {
        const page = index.pages[number];
        const all = sum + phrased(index, index.phrases[number], wholes);
        return { page, score: all * had * (page.name ? 1 : OTHER) };
      })
      .sort((a, b) => b.score - a.score);
    const least = LEAST * (ranked[0]?.score ?? 0);
    const pages = ranked.filter(({ score }) => score >= least).map(({ page }) => page);
    return { pages, nowhere: [...new Set(nowhere)] };
  }

  globalThis.cookbookRank = { prepare, search };
})();
