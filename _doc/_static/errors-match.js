/* Find the recipes that answer a text. Pure functions: no page, no network.
 *
 * 1. read(text): what the text is made of: exceptions with their causes, log records,
 *    warnings, other text, and the functions of frames; without prefixes and source.
 * 2. find(index, text): the templates of torch's messages of which the text has an
 *    instance. Only such a match is certain.
 * 3. rank(index, text): if there is none, the recipes with the most words in common.
 *
 * The page "How errors are matched" explains it in words. _ext/take/explain.py does the
 * same in Python, function by function: change both, tests hold them together.
 */
"use strict";

(() => {
  const LONGEST = 200000; // characters of a text that are read, from each end
  const RANKED = 30000; // the same, where words are compared
  const MANY = 300; // lines of a text in which repeated ones are read once
  const HOLE = 4000; // characters that may stand in a hole
  const LETTERS = 15; // letters and words that a template must have to be certain
  const WORDS = 3;
  const SHORT = 7; // letters of a template that has too few for that
  const FURTHER = 400; // characters after a hole that may belong to it
  const SHOWN = 5; // answers
  const QUOTED = 600; // characters of a text that are shown again
  const LINKED = 3000; // characters of a text in a link to its answer
  const LONG = 30; // letters of a template that is told by its words alone

  // ------------------------------------------------------------------ reading a text

  const ANSI = /(?:\x1b|\u241b|\\x1b|\\033|\\u001b)\[[\d;]*[A-Za-z]|\[\d{1,2}(?:;\d+)*m/g;
  const BAR = /^.*?\d+%\|[^|]*\| *[^\[\n]*\[[^\]\n]*\](?:, [\w.= -]+$)?/;
  const LEVEL = "(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|EXCEPTION)";
  const DAY = "\\d{4}[-/]\\d\\d[-/]\\d\\d[T ]";
  const CLOCK = "\\d{1,2}:\\d\\d:\\d\\d(?:[.,]\\d+)?(?: ?(?:Z|UTC|[+-]\\d\\d:?\\d\\d))?";
  const PREFIXES = [
    /^\s*(?:>(?!>>) ?)+(?=\S| {0,4}\S)/, // quoted in a mail or in Markdown
    /^\[(?:default\d*|rank *\d+|node[\w-]*|\d+,\d+)\](?:<std\w+>)?:? ?/i,
    /^(?:rank *\d+|\d+): (?=\[?\w)/i,
    /^\[?[IWEVFDC]\d{3,4} [\d:.]+ +(?:\d+ )?[^\]\s]*:\d+\] ?(?:\[\d+\/[\d_]+\] ?)*(?:\[__\w+\] ?)*/,
    new RegExp(`^[[(]?(?:${DAY})?${CLOCK}[\\])]?(?: *[|:-] +|,? |$)`),
    new RegExp(`^${LEVEL}:[\\w.]+:(?=\\S)`), // ERROR:root:
    new RegExp(`^[[(]?${LEVEL}[\\])]?(?: *[|:-] ?| +)`),
    /^(?:std(?:err|out) [FP] )/,
    /^(?:[\w.]+:[\w<>]+:\d+ - )/, // loguru
    /^[\w.-]+ +(?:- +|\| +)(?=\[?(?:DEBUG|INFO|WARN|ERROR|CRITICAL))/,
    /^\((?:[\w.:/-]+,? )*pid=\d+[^)]*\) ?/, // ray
    /^[a-z][\w./-]* *\| /i, // docker compose
    /^#\d+ (?:\d+\.\d+ ?)/, // docker build
    /^##\[\w+\]/,
    /^[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d [\w.-]+ [\w./@-]+(?:\[\d+\])?: ?/, // journal
    /^\[[A-Za-z][\w-]*\] (?=\[)/,
    /^E {1,7}(?=\S)|^E {7}/, // pytest
    /^ *[│┃║] ?/,
  ];
  const SEVERE = /^(?:E|F|C)\d{3}|ERROR|CRITICAL|FATAL|EXCEPTION/;
  const MILD = /^(?:W|I|V|D)\d{3}|WARN|INFO|DEBUG|NOTICE/;

  /* Return a line without what a terminal, a logger or a person put before it. */
  function stripped(line) {
    let level = "";
    let record = "";
    for (let again = 0; again < 8; again++) {
      const prefix = PREFIXES.find((each) => each.test(line));
      if (!prefix) break;
      const [found] = prefix.exec(line);
      if (!found) break;
      const plain = found.replace(/^[\s[(]+/, "");
      if (SEVERE.test(plain)) level = "severe";
      else if (MILD.test(plain)) level ||= "mild";
      record += found;
      line = line.slice(found.length);
    }
    line = line.replace(/\s*[│┃║]\s*$/, "").replace(/^(\s*)([`"])([^`"]+)\2$/, "$1$3");
    return { line, level, record };
  }

  /* What stands before the tracebacks of a text, and so before their other lines. */
  function commonPrefix(lines) {
    const seen = new Map();
    for (const line of lines) {
      const trace = line.indexOf("Traceback (most recent call last):");
      const end = trace > 0 ? trace : line.indexOf('  File "');
      const before = end > 0 && end < 120 ? line.slice(0, end).trim() : "";
      if (!before) continue;
      const form = before
        .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
        .replace(/\d+/g, "\\d+")
        .replace(/\s+/g, "\\s+");
      seen.set(form, (seen.get(form) ?? 0) + 1);
    }
    const often = [...seen].filter(([, count]) => count > 1).map(([form]) => form);
    return often.length ? new RegExp(`^\\s*(?:${often.join("|")}) ?`) : null;
  }

  /* Drop the lines of a long log that differ from an earlier one in numbers only. */
  function distinct(lines) {
    if (lines.length < MANY) return lines;
    const seen = new Set();
    return lines.filter((line) => {
      const key = line.replace(/\d+/g, "0");
      if (!/^\S.*\d/.test(line) || !seen.has(key)) return seen.add(key);
      return false;
    });
  }

  /* Return the lines of a text, each with what its prefix says. */
  function cleaned(text) {
    let plain = text.length > 2 * LONGEST
      ? `${text.slice(0, LONGEST)}\n${text.slice(-LONGEST)}`
      : text;
    plain = plain
      .replace(ANSI, "")
      .replace(/[\u2018\u2019]/g, "'")
      .replace(/[\u201c\u201d]/g, '"')
      .replace(/[\u00a0\u200b\ufeff]/g, " ")
      .replace(/\\(['"])/g, "$1");
    // A message inside of another one as repr() shows it.
    plain = plain.replace(/\\n(?=\\n|[ A-Z\-(]|$)/gm, "\n");
    let lines = plain.split(/\r?\n|\r/);
    const full = lines.filter((line) => line.trim());
    const hash = full.filter((line) => /^\s*#/.test(line)).length;
    if (hash > full.length * 0.6) lines = lines.map((line) => line.replace(/^\s*# ?/, ""));
    const common = commonPrefix(lines);
    return distinct(lines).map((line) => {
      const bare = BAR.test(line) ? line.replace(BAR, "") : line;
      const without = common ? bare.replace(common, "") : bare;
      const found = stripped(without);
      if (without !== bare) found.record ||= "prefix";
      return found;
    });
  }

  const anyOf = (flags, ...forms) =>
    new RegExp(forms.map((form) => `(?:${form.source})`).join("|"), flags);
  const FRAME = anyOf(
    "",
    /^\s*File ["'][^"']*["'], line \d+/,
    /^\s*File \S.*?(?::\d+|, line \d+),? in /, // a notebook
    /^\s*Cell In ?\[\d+\], line \d+/,
    /^\s*\[?[~.\w\/-]*\.py(?:\]\(\S*\)|["'], line \d+,|:\d+,?)? in \w/, // cut, or a link
    /^\s*at \S+\(\S+:\d+\)$/, // Java
  );
  const PYTEST = /^\S+\.py:\d+: ?(?:in .*|[\w.]+)?$/;
  const MARK = anyOf(
    "",
    /^\s*(?:[\^~]+|_{2,}[ _]*|-{5,}|\.{3,}|…+|`{3,}\w*)\s*$/,
    /^\s*[─━═╭╮╰╯┌└]/,
    /^\s*(?:\.\.\.)?<\d+ lines>\.*\s*$/,
  );
  const NUMBERED = /^\s*(?:-+>|❱|>>>?)?\s*\d+(?:\s*[│|]| |$)/;
  const STATEMENT = /^\s+(?:raise|return|warnings\.warn\(|yield|await) ?/;
  const TRACE = /^(?:[\s-]*|[\w.]+ +)Traceback \(most recent call last\)/;
  const CAUSE = /The above exception was the direct cause of|^\s*(?:\u2b06\ufe0f?|⬆️)\s*$/;
  const CONTEXT = /During handling of the above exception, another/;
  const NAME = "(?:[A-Za-z_]\\w*\\.)*[A-Za-z_]\\w*";
  const CLASS =
    `(?:${NAME}(?:Error|Exception|Warning|Unsupported|Failed|Failure|Fail|Interrupt|` +
    `GuardOnDataDependentSymNode|Violation|NotFound\\w*|InvalidArgument|Deprecated)|` +
    "torch(?:\\.\\w+)+\\.[A-Z]\\w+)";
  const HEADERS = [
    new RegExp(`^\\s{0,3}(?:<class ')?(${CLASS})(?:'>)?(?::|\\s*$)\\s*`),
    new RegExp(`^(?:.{0,160}?[\\s\\]:*\`"'-])(?:<class ')?(${CLASS})(?:'>)?: *`),
  ];

  const MAY_BE_HEADER =
    /Error|Exception|Warning|Unsupported|Fail|Interrupt|SymNode|Violation|NotFound|InvalidArgument|Deprecated|torch\.\w+\./;

  /* The beginning and the end of a text, where words are looked for. */
  const shortest = (text) =>
    text.length > 2 * RANKED ? `${text.slice(0, RANKED)}\n${text.slice(-RANKED)}` : text;

  /* Tell where an exception or a warning begins: its class, and where its text does. */
  function header(line) {
    if (!MAY_BE_HEADER.test(line)) return null;
    for (const each of HEADERS) {
      const found = each.exec(line);
      if (found) return { type: found[1].split(".").pop(), at: found[0].length };
    }
    return null;
  }

  const PLACE = /([\w.\-\/\\]+\.py)["']?(?:\]\(\S*\))?(?:, line \d+|:\d+)?[:,]? in ([\w<>]+)/;

  /* Name what a frame runs: the end of the path, and the function. */
  function place(line) {
    const found = PLACE.exec(line);
    if (!found) return [];
    const path = found[1].split(/[\/\\]/).slice(-4).join("/");
    return [`${path}: ${found[2]}`];
  }

  const indent = (line) => /^\s*/.exec(line)[0].length;

  /* Return the parts of a text: {kind, type, link, text}. */
  function read(text) {
    const parts = [];
    const frames = [];
    let part = null;
    let link = "";
    let frame = -1; // the indentation of the frame that is read, or -1
    let numbered = false;
    let left = 0; // lines of source that may still follow
    let last = "";
    const begin = (kind, type = "") => {
      part = { kind, type, link, lines: [] };
      parts.push(part);
      link = "";
    };
    for (const { line, level, record } of cleaned(text)) {
      if (!line.trim()) {
        numbered = false;
        frame = -1;
        continue;
      }
      if (CAUSE.test(line) || CONTEXT.test(line)) {
        link = CAUSE.test(line) ? "cause" : "context";
        part = null;
        frame = -1;
        continue;
      }
      if (TRACE.test(line)) {
        link ||= "new";
        part = null;
        frame = indent(line);
        left = 0;
        continue;
      }
      if (PYTEST.test(line)) {
        frames.push(...place(line));
        continue;
      }
      if (FRAME.test(line)) {
        frames.push(...place(line));
        frame = indent(line);
        numbered = !/line \d+, in|line \d+$/.test(line) || /Cell In/.test(line);
        left = 12;
        continue;
      }
      if (MARK.test(line)) continue;
      if (numbered && (NUMBERED.test(line) || /^\s*\(\.\.\.\)|^\s{4}/.test(line))) continue;
      const head = header(line);
      if (frame >= 0 && left > 0 && indent(line) > frame && !(head && indent(line) < 4)) {
        left--;
        continue;
      }
      if (/^\s*-+> *\d+ |^\s*❱ *\d+/.test(line) || STATEMENT.test(line)) continue;
      if (frame >= 0 && left === 12 && !head && indent(line) === 0 && frame === 0) {
        left = 0; // the line of source of a frame that lost its indentation
        if (/[(=.]/.test(line) && !/[.:!]$/.test(line)) continue;
      }
      frame = -1;
      numbered = false;
      const source = record.replace(/[^\]]*?(\S+:\d+)\].*/, "$1");
      if (head && (head.at < line.length || !part)) {
        const kind = /Warning$/.test(head.type) ? "warning" : "exception";
        begin(kind, head.type);
        if (head.at < line.length) part.lines.push(line.slice(head.at));
      } else if (level && (!part || source !== last || !record)) {
        begin(level === "severe" ? "error" : "log");
        part.lines.push(line);
      } else {
        if (!part) begin("text");
        part.lines.push(line);
      }
      last = level ? source : "";
    }
    if (frames.length) parts.push({ kind: "frames", type: "", link: "", lines: frames });
    return parts
      .map(({ lines, ...rest }) => ({ ...rest, text: folded(lines) }))
      .filter((each) => each.text || each.type);
  }

  /* Join lines as the catalogue has them: single blanks, no empty lines. */
  function folded(lines) {
    return lines
      .map((line) => line.trim().replace(/\s+/g, " ").replace(/^# /, ""))
      .filter(Boolean)
      .join("\n");
  }

  // -------------------------------------------------------------------- templates

  const letters = (text) => text.replace(/[^A-Za-z]/g, "").length;
  const wordsIn = (text) => text.match(/[A-Za-z_]{2,}/g) ?? [];

  /* How many words a text says; call_method UserDefinedObjectVariable says six. */
  const countWords = (text) => (text.match(/[A-Z]?[a-z]{2,}|[A-Z]{2,}/g) ?? []).length;

  /* A pattern that finds fixed text; where it is wrapped does not matter. */
  function pattern(fixed) {
    const escaped = fixed.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    const breaks = /\S/.test(fixed) ? "[ \\n]+" : "\\n";
    return new RegExp(escaped.replace(/[ \n]+/g, breaks), "g");
  }

  /* The words of fixed text that stand in any instance as they are. */
  function whole(part, isFirst, isLast) {
    let inner = part;
    if (!isFirst) inner = inner.replace(/^\w+/, "");
    if (!isLast) inner = inner.replace(/\w+$/, "");
    return wordsIn(inner);
  }

  /* Make a template of a text with holes. */
  function template(text, about) {
    const fixed = text.replace(/^# /gm, "").split("{}");
    const parts = fixed
      .map((part, hole) => ({ part, hole }))
      .filter(({ part }) => part.trim() || part.includes("\n"))
      .map(({ part, hole }) => ({
        hole, // this many holes stand before it
        letters: letters(part),
        words: countWords(part),
        text: part,
      }));
    if (!parts.some((each) => each.letters)) return null;
    // What an instance needs: the first line, and more where that says too little.
    let head = 0;
    let said = 0;
    let count = 0;
    for (; head < parts.length; head++) {
      const line = parts[head].text.trimStart().indexOf("\n");
      said += parts[head].letters;
      count += parts[head].words;
      if (line >= 0 && said >= 25 && count >= 5) break;
    }
    const opening = beginning(parts[0]).part.text;
    const isWhole = opening === parts[0].text && fixed.length === 1;
    const required = whole(opening, parts[0].hole === 0, isWhole || opening !== parts[0].text);
    return {
      ...about,
      text,
      // It says the class of the exception, too.
      isHeaded: MAY_BE_HEADER.test(text) && HEADERS[0].test(text),
      holes: fixed.length - 1,
      parts,
      head: Math.min(head + 1, parts.length),
      letters: parts.reduce((sum, each) => sum + each.letters, 0),
      words: parts.reduce((sum, each) => sum + each.words, 0),
      required,
    };
  }

  /* The pieces in which the text of a part may be wrapped are compiled when needed. */
  const compiled = (part) => (part.pattern ??= pattern(part.text));

  /* Find fixed text from a place on; return [start, end] or null. */
  function search(part, text, from, limit) {
    const form = compiled(part);
    form.lastIndex = from;
    const found = form.exec(text);
    if (!found || found.index > from + limit) return null;
    return [found.index, found.index + found[0].length];
  }

  /* The first line or sentence of a part, for a text that ends there. */
  function beginning(part) {
    const found = /^\s*(\S[^\n]{20,}?[.!?:])[ \n]|^\s*(\S[^\n]+)\n/.exec(part.text);
    const line = found ? (found[1] ?? found[2]) : part.text;
    const made = (part.opening ??= line === part.text ? part : { text: line });
    return { part: made, letters: letters(line), words: countWords(line) };
  }

  const isWord = (char) => char !== undefined && /\w/.test(char);

  /* Tell whether a template may begin at a place. */
  function begins(text, at, form) {
    const before = text[at - 1];
    if (isWord(before) && isWord(text[at])) return false;
    if (form.parts[0].hole > 0 || form.letters >= LONG) return true;
    const gap = text.slice(Math.max(0, at - 50), at);
    return !/[\w,] *$/.test(gap);
  }

  /* Tell whether a template may end at a place. */
  function ends(text, at, form) {
    if (form.parts.at(-1).hole < form.holes) return true; // a hole follows
    const after = text[at];
    if (isWord(after) && isWord(text[at - 1])) return false;
    return form.letters >= LONG || after === undefined || /[\n.,;:!)'"`\]|]/.test(after);
  }

  /* Match a template in a text; return {start, end, holes, letters, missing} or null. */
  function match(form, text) {
    let best = null;
    let from = 0;
    for (let tries = 0; tries < 20; tries++) {
      const found = attempt(form, text, from);
      if (!found) break;
      if (found.fits && (!best || found.letters > best.letters)) best = found;
      from = found.start + 1;
    }
    return best;
  }

  function attempt(form, text, from) {
    const [first] = form.parts;
    let opening = first;
    let span = search(first, text, from, Infinity);
    if (!span && first.letters > LONG) {
      const { part, letters: some, words } = beginning(first);
      if (some >= 25 && words >= 4) {
        opening = { letters: some, words };
        span = search(part, text, from, Infinity);
      }
    }
    if (!span) return null;
    const [start] = span;
    const { letters: some, words } = opening;
    const found = { start, letters: some, words, missing: opening === first ? 0 : 1 };
    const spans = [span];
    let at = span[1];
    let misses = 0; // in what an instance needs
    form.parts.slice(1).forEach((part, i) => {
      const next = search(part, text, at, HOLE);
      if (next) {
        spans.push(next);
        found.letters += part.letters;
        found.words += part.words;
        at = next[1];
        return;
      }
      found.missing += 1;
      const begun = beginning(part);
      const some = begun.part !== part ? search(begun.part, text, at, HOLE) : null;
      spans.push(some);
      if (some) {
        found.letters += begun.letters;
        found.words += begun.words;
        at = some[1];
      } else if (i + 1 < form.head) misses += 1;
    });
    found.end = at;
    found.spans = spans.filter(Boolean);
    Object.assign(found, holesOf(form, text, spans));
    const isWhole = !found.missing && ends(text, at, form);
    const isBegun =
      opening !== first ||
      (form.parts.length > 1 &&
        (misses === 0 || found.words >= 5) &&
        found.letters >= 25 &&
        (found.letters >= form.letters * 0.3 || found.letters >= 36));
    const isCut = !form.isWording && found.missing > 0 && isBegun;
    found.fits = begins(text, start, form) && (isWhole || isCut);
    return found;
  }

  /* Return what stands in the holes of a match. */
  function holesOf(form, text, spans) {
    const holes = Array(form.holes).fill("");
    const ats = Array(form.holes).fill(-1); // where a hole begins that a line ends
    const begins = []; // where a hole begins
    const { parts } = form;
    if (parts[0].hole > 0) {
      const line = text.lastIndexOf("\n", spans[0][0] - 1) + 1;
      const begin = parts[0].text.startsWith("\n") ? Math.max(0, spans[0][0] - HOLE) : line;
      holes[parts[0].hole - 1] = text.slice(begin, spans[0][0]);
    }
    parts.forEach((part, i) => {
      if (!spans[i] || part.hole >= form.holes) return;
      const next = spans.findIndex((span, j) => j > i && span);
      let end = next < 0 ? Math.min(text.length, spans[i][1] + HOLE) : spans[next][0];
      const line = text.indexOf("\n", spans[i][1]);
      if (next !== i + 1 && i + 1 < parts.length && line >= 0) end = Math.min(end, line);
      holes[part.hole] = text.slice(spans[i][1], end);
      if (text[end] === "\n") ats[part.hole] = spans[i][1];
      begins.push(spans[i][1]);
    });
    return { holes, ats, begins };
  }

  /* Prepare the templates: where to find each by its rarest word. */
  function forms({ templates = [], recipes }) {
    const list = [];
    for (const answer of templates) {
      for (const [text, kind, since, until] of answer.texts) {
        const made = template(text, { answer, kind, since, until });
        if (!made) continue;
        made.isShort = made.letters < LETTERS || made.words < WORDS;
        if (!made.isShort || isOwn(made)) list.push(made);
      }
    }
    for (const { name, wordings } of recipes) {
      const answer = { role: "answer", recipe: name };
      for (const text of wordings) {
        const bare = text.slice(header(text)?.at ?? 0).replaceAll("...", "{}");
        const made = template(bare, { answer, kind: "", isWording: true });
        if (made && made.letters >= LETTERS + 5 && made.words >= WORDS) list.push(made);
      }
    }
    const having = new Map();
    for (const form of list) {
      for (const word of new Set(form.required)) {
        having.set(word, (having.get(word) ?? 0) + 1);
      }
    }
    const byWord = new Map();
    for (const form of list) {
      let rarest = "";
      for (const word of form.required) {
        if (!rarest || having.get(word) < having.get(rarest)) rarest = word;
      }
      if (!byWord.has(rarest)) byWord.set(rarest, []);
      byWord.get(rarest).push(form);
    }
    return byWord;
  }

  const PYTHONS =
    /^(?:(?:Runtime|Value|Type|Key|Index|Attribute|Import|NotImplemented|OS)Error|Exception)$/;
  const SPOKEN = { "graph break": "Unsupported", assert: "AssertionError" };

  /* Tell whether a short template belongs to a class of torch's own, or to a check. */
  function isOwn(form) {
    form.classes = form.kind.split(", ").map((kind) => SPOKEN[kind] ?? kind);
    const own = form.classes.some((each) => CLASSES.test(each) && !PYTHONS.test(each));
    return own && form.letters >= SHORT && (form.words > 1 || form.kind === "graph break");
  }

  /* A short template is certain only as the whole text of an exception of its class. */
  function isWholeText(form, { start, missing, holes }, { type }) {
    const before = form.parts[0].hole > 0 ? holes[0].length : 0;
    return start === before && !missing && form.classes.includes(type);
  }

  const CLASSES = /^[A-Z]\w*$/;

  /* Tell whether the class of an exception speaks against a short template. */
  function contradicts(form, type) {
    if (!type || !form.kind || form.letters >= LONG) return false;
    const kinds = form.kind.split(", ").filter((kind) => CLASSES.test(kind));
    return kinds.length > 0 && !kinds.includes(type) && !/Runtime|User|Unsupported/.test(type);
  }

  /* Return the matches in one part of a text, the best first. */
  function matches(index, part, release) {
    const headed = part.type ? `${part.type}: ${part.text}` : part.text;
    const present = new Set(wordsIn(headed));
    const found = [];
    for (const word of [...present, ""]) {
      for (const form of index.forms.get(word) ?? []) {
        if (!form.required.every((each) => present.has(each))) continue;
        if ((form.kind === "frames") !== (part.kind === "frames")) continue;
        if (contradicts(form, part.type)) continue;
        const one = match(form, form.isHeaded ? headed : part.text);
        if (!one || (form.isShort ? !isWholeText(form, one, part) : one.letters < LETTERS)) {
          continue;
        }
        if (one.missing && part.kind === "frames") continue;
        found.push({ ...one, form, part });
      }
    }
    const there = (each) => (release && exists(index, each.form, release) ? 1 : 0);
    found.sort(
      (a, b) =>
        weightOf(b) - weightOf(a) ||
        a.missing - b.missing ||
        there(b) - there(a) ||
        importance(b.form) - importance(a.form),
    );
    return found.filter((each) => !isOuter(each, found));
  }

  // A wording has examples where a template has holes: they are no more specific.
  const weightOf = ({ letters: some, form }) => some * (form.isWording ? 0.7 : 1);

  // Dynamo says the same to those who compile: without an export nothing is certain.
  const COMPILED = anyOf(
    "i",
    /\btorch[._]compile|inductor\b|torchinductor|cudagraph|compiled?_autograd/,
    /\b(?:vllm|unsloth|sglang)\b|deepspeed/,
    /\bfsdp|DistributedDataParallel|optimizer\.step/,
  );
  const EXPORTED = /export|onnx|aoti|\.pt2\b/i;

  const importance = (form) => ["none", "wrapper", "answer"].indexOf(form.answer.role);

  /* Tell whether the template exists in a release. */
  function exists({ releases }, { since, until }, release) {
    const at = releases.indexOf(release);
    const from = since ? releases.indexOf(since) : 0;
    const to = until ? releases.indexOf(until) : releases.length;
    return at >= from && at <= to;
  }

  /* Tell whether a better match explains the same words. A wrapper is no better one. */
  function isOuter(worse, found) {
    const before = found.slice(0, found.indexOf(worse));
    return before.some(
      (better) =>
        (better.form.answer.role !== "wrapper" || worse.form.answer.role === "wrapper") &&
        shared(better, worse) > 0.3 * size(worse.spans),
    );
  }

  const size = (spans) => spans.reduce((sum, [start, end]) => sum + end - start, 0);

  /* Return how many characters the fixed parts of two matches have in common. */
  function shared(a, b) {
    let sum = 0;
    for (const [start, end] of a.spans) {
      for (const [from, to] of b.spans) {
        sum += Math.max(0, Math.min(end, to) - Math.max(start, from));
      }
    }
    return sum;
  }

  /* Order the parts of a text: what to believe first. */
  function ordered(parts) {
    const exceptions = [];
    for (const part of parts.filter((each) => each.kind === "exception")) {
      if (part.link === "cause" && exceptions.length) exceptions.at(-1).push(part);
      else exceptions.push([part]);
    }
    const of = (...kinds) => parts.filter((each) => kinds.includes(each.kind));
    return [
      ...exceptions.reverse().flat(),
      ...of("error").reverse(),
      ...of("text"),
      ...of("warning").reverse(),
      ...of("log").reverse(),
    ];
  }

  /* Return what decides the recipe of a match: the rule on a hole that fits, or the answer.
   *
   * A message that somebody wrapped ends a hole too early: then look a little further.
   * What a rule on hole 0 says may stand anywhere in the text.
   */
  function deciding({ form, holes, ats, part }) {
    const { answer } = form;
    const rules = answer.when ?? [];
    const wider = (at) => part.text.slice(at, at + FURTHER);
    const fitting =
      rules.find((rule) =>
        rule.hole ? fits(rule, holes[rule.hole - 1]) : stands(rule, part.whole),
      ) ??
      rules.find(({ hole }, i) => ats[hole - 1] >= 0 && fits(rules[i], wider(ats[hole - 1])));
    return fitting ?? answer;
  }

  const decided = (one) => deciding(one).recipe ?? "";

  /* Tell whether a message has other causes, and nothing in it says which one it is. */
  const isUsual = (one) => isUndecided(one) && !!one.form.answer.also?.length;

  const isUndecided = (one) => deciding(one) === one.form.answer;

  /* Tell whether no cause of a message is the usual one, and nothing says which it is. */
  const isOpen = (one) => one.form.answer.certain === false && isUndecided(one);

  function stands(rule, text) {
    rule.form ??= new RegExp(rule.is);
    return rule.form.test(text);
  }

  function fits(rule, hole = "") {
    rule.form ??= new RegExp(`^(?:${rule.is})$`);
    return rule.form.test(hole) || rule.form.test(hole.replaceAll("\n", " "));
  }

  /* Find the answers that are certain, and what else the text speaks of.
   *
   * Returns a list of {recipe, certain, usual, isOpen, why, match}; the names of recipes
   * are unique. A usual answer is the most frequent cause of a message that has several;
   * an open one is as frequent as others.
   */
  function find(index, text, release = "") {
    const found = read(text);
    const whole = shortest(text);
    found.forEach((part) => (part.whole = `${part.text}\n${whole}`));
    const parts = ordered(found);
    const all = parts.map((part) => ({ part, found: matches(index, part, release) }));
    const isRaised = parts.some((part) => part.kind === "exception");
    const mayBeCertain = !COMPILED.test(text) || EXPORTED.test(text);
    const said = all.flatMap(({ part, found }) =>
      innermost(found.filter((one) => roleOf(one) === "answer")).map((one) => ({
        one,
        recipe: decided(one),
        isCertain: mayBeCertain && !(isRaised && isAside(one, part)) && !isOpen(one),
      })),
    );
    const hints = found
      .filter(({ kind }) => kind === "frames")
      .flatMap((part) => matches(index, part, release))
      .sort((a, b) => b.end - a.end);
    const wrappers = all.flatMap(({ found }) =>
      found.filter((one) => roleOf(one) === "wrapper"),
    );
    const list = [];
    const add = (recipe, certain, why, one) => {
      if (!recipe || list.some((each) => each.recipe === recipe)) return;
      const isFirst = certain && !list.length;
      list.push({
        recipe,
        certain: isFirst,
        usual: isFirst && isUsual(one),
        isOpen: why === "message" && isOpen(one),
        why,
        match: one,
      });
    };
    for (const { one, recipe, isCertain } of said) {
      add(recipe, isCertain, list.length ? "other" : "message", one);
    }
    for (const one of hints) add(decided(one), false, "frames", one);
    for (const one of wrappers) add(decided(one), false, "wrapper", one);
    const asked = [...said, ...hints.map((one) => ({ one, recipe: decided(one) }))];
    for (const { one, recipe } of asked) {
      // A rule without a recipe says that there is none; a template may have hints alone.
      const also = recipe || !one.form.answer.recipe ? one.form.answer.also : [];
      for (const name of also ?? []) add(name, false, "also", one);
    }
    return list;
  }

  const roleOf = ({ form }) => form.answer.role;

  const isMild = ({ kind }) => kind === "warning" || kind === "log";

  /* Where something was raised, a warning is not the cause: known as one by the text
     around it, or by what says it. */
  const isAside = (one, part) => isMild(part) || isMild(one.form);

  /* Order matches of one part: what stands inside of another comes first. */
  function innermost(found) {
    const byStart = [...found].sort((a, b) => a.start - b.start);
    const list = new Set();
    const add = (one) => {
      byStart.filter((each) => inside(each, one)).forEach(add);
      list.add(one);
    };
    byStart.forEach(add);
    return [...list];
  }

  /* Tell whether a match stands in a hole of another one, in the first line of it. */
  function inside(a, b) {
    if (a.start <= b.start || a.letters < 20) return false;
    const from = Math.max(...b.begins.filter((each) => each <= a.start), -1);
    return from >= 0 && !a.part.text.slice(from, a.start).trim().includes("\n");
  }

  // --------------------------------------------------------------- comparing words

  /* Split a text into words; numbers are "#", symbols of sizes are "sym". */
  function words(text) {
    const plain = text
      .replace(/0x[0-9a-f]+/gi, " ")
      .replace(/\b(?:\w+\.)+(?=[A-Z])/g, "") // torch._dynamo.exc.UserError
      .toLowerCase()
      .replace(/\b(?:zuf|zf|u|s)\d+\b/g, " sym ");
    const found = plain.match(/[a-z_]+|\/\/|[=!<>]=|[-+*\/%<>]|\d+/g) ?? [];
    return found.map((word) => (/^\d/.test(word) ? "#" : word));
  }

  /* The parts of dynamic_shapes. */
  const namedIn = (word) => word.split("_").filter((name) => name.length > 2);

  /* Return the words, the parts of names, and the pairs of neighbors. */
  function terms(text) {
    const list = words(text);
    const found = new Set();
    list.forEach((word, i) => {
      if (word !== "#") found.add(word);
      if (word.includes("_")) namedIn(word).forEach((name) => found.add(name));
      if (i) found.add(`${list[i - 1]} ${word}`);
    });
    found.delete("# #");
    return found;
  }

  /* Prepare the index: where to find each template, and each recipe. */
  function prepare(index) {
    const byName = new Map(index.recipes.map((recipe) => [recipe.name, recipe]));
    const named = index.recipes.filter(({ id }) => id);
    const byId = new Map(named.map((recipe) => [recipe.id, recipe]));
    return { ...index, byName, byId, forms: forms(index) };
  }

  // Such as view_as_complex: if few recipes have it, it says more than a word.
  const TELLING = /^(?=.{7})\w*[a-z]_[a-z]\w*$/;

  /* Prepare the texts to rank, and where each term is: only once something is ranked. */
  function prepareRanks(index) {
    const { recipes } = index;
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
      add(`${recipe.title}. ${recipe.symptom}`, 0.8);
      add(recipe.keywords.join(". "), 1);
      add(recipe.answer?.cause ?? recipe.advice ?? "", 0.5);
    });
    const numbers = new Map(recipes.map(({ name }, number) => [name, number]));
    for (const { role, recipe, texts: said } of index.templates ?? []) {
      if (role !== "answer" || !numbers.has(recipe)) continue;
      for (const [text, kind] of said) {
        if (kind === "frames") continue;
        const add = { recipe: numbers.get(recipe), text, factor: 1, message: { text } };
        texts.push({ ...add, terms: terms(text.slice(0, 400).replaceAll("{}", " ")) });
      }
    }
    const having = new Map();
    for (const { recipe, terms } of texts) {
      for (const term of terms) {
        if (!having.has(term)) having.set(term, new Set());
        having.get(term).add(recipe);
      }
    }
    const isName = (term) => TELLING.test(term) && having.get(term)?.size <= 4;
    const weight = (term) =>
      Math.log(1 + recipes.length / (having.get(term)?.size ?? 1)) *
      (isName(term) ? 1.5 : term.includes(" ") ? 1 : 0.5);
    const places = new Map();
    for (const text of texts) {
      text.weight = 0;
      for (const term of text.terms) {
        text.weight += weight(term);
        if (!places.has(term)) places.set(term, []);
        places.get(term).push(text);
      }
    }
    return { weight, places, isName };
  }

  // What stands below any error; it says nothing of the cause.
  const ADVICE = anyOf(
    "gm",
    /^Set TORCH.*$/,
    /^You can suppress this exception.*$/,
    /^import torch\._dynamo$|^torch\._dynamo\.config\.suppress.*$/,
    /^For more information about this error.*$/,
    /^The error above occurred when.*$/,
    /^\(Refer to the full stack.*$/,
    /^For C\+\+ stack trace.*$/,
  );

  /* Rank the recipes for a text: a list of {recipe, message, score, whole}. */
  function rank(index, query) {
    const { weight: weightOfTerm, places, isName } = (index.ranks ??= prepareRanks(index));
    const parts = read(query).filter(({ kind }) => kind !== "frames");
    const said = parts.map(({ type, text }) => `${type} ${text}`).join("\n");
    const text = shortest(said.replace(ADVICE, ""));
    const shared = new Map();
    const named = new Set();
    let all = 0;
    for (const term of terms(text)) {
      const weight = weightOfTerm(term);
      all += weight;
      const having = places.get(term) ?? [];
      for (const place of having) shared.set(place, (shared.get(place) ?? 0) + weight);
      if (isName(term)) for (const place of having) named.add(place.recipe);
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
        answer.place = place;
        answer.whole = Math.max(weight / place.weight, weight / all);
      }
    }
    const isOfExport = speaks(query);
    return [...answers]
      .map(([recipe, { best, more, message, whole, place }]) => {
        const score = best + more;
        const close =
          score >= 21 ||
          (score >= 13 && whole >= 0.75) ||
          (score >= 6 && whole >= 0.9) ||
          (isOfExport && score >= 5 && whole >= 0.1) ||
          (named.has(recipe) && score >= 3);
        return { recipe: index.recipes[recipe], message, score, whole, close, place };
      })
      .sort((a, b) => b.score - a.score);
  }

  // Something of an export is in the text: then less is enough to be shown.
  const CONTEXT_OF_EXPORT = /export|onnx|_dynamo|aoti|FakeTensor|SymInt|torch\.fx|executorch/i;
  const speaks = (text) => CONTEXT_OF_EXPORT.test(text);

  /* The words of a text that made a recipe come close, the rarest first. */
  function sharedWords(index, query, place) {
    const has = place?.terms ?? new Set();
    return [...terms(query)]
      .filter((term) => !term.includes(" ") && /\w{3}/.test(term) && has.has(term))
      .sort((a, b) => index.ranks.weight(b) - index.ranks.weight(a))
      .slice(0, 6);
  }

  // ------------------------------------------------------------------- the answers

  const ID = /^\s*(TX\d+)\s*$/i;

  /* Return what is shown for a text, or for the id of a recipe.
   *
   * That is {certain, answers, link, words}; the words are for the search.
   * Each answer is {recipe, certain, usual, isOpen, why, quote, message, words}: the part of the
   * text that matched, the message of the recipe's page, the words in common.
   */
  function answer(index, text, release = "") {
    const named = index.byId.get(ID.exec(text)?.[1].toUpperCase());
    if (named) {
      const one = { recipe: named, certain: true, usual: false, why: "id" };
      return { certain: true, answers: [one], link: named.id, words: "" };
    }
    const found = find(index, text, release).map((each) => ({
      ...each,
      recipe: index.byName.get(each.recipe),
      quote: each.why === "also" ? undefined : quoted(each.match),
      message: reproduced(index, each.recipe, each.match.form),
    }));
    const certain = Boolean(found[0]?.certain);
    const close = certain ? [] : closest(index, text, found);
    // A template that only hints at recipes comes after the closest one.
    const first = found.every(isHint) ? 1 : 0;
    const answers = [...close.slice(0, first), ...found, ...close.slice(first)];
    const link = certain ? linked(found[0].match) : shortened(text);
    const words = answers.length ? "" : said(read(text)) || text;
    return { certain, answers: answers.slice(0, SHOWN), link, words };
  }

  const isHint = ({ why, match: { form } }) => why === "also" && !form.answer.recipe;

  /* The part of a text that matched, to be shown again. */
  const quoted = ({ part, start, holes, form }) =>
    part.text.slice(form.parts[0].hole > 0 ? start - holes[0].length : start).slice(0, QUOTED);

  function closest(index, text, found) {
    const ranked = rank(index, text);
    if (!ranked[0]?.close) return [];
    const least = ranked[0].score / 3;
    return ranked
      .filter(({ score, recipe }) => score >= least && !found.some((f) => f.recipe === recipe))
      .slice(0, SHOWN)
      .map(({ recipe, message, place }) => ({
        recipe,
        certain: false,
        why: "close",
        message: message?.cell ? message : undefined,
        words: sharedWords(index, text, place),
      }));
  }

  /* Return the message of a recipe that is an instance of a template: best, a printed one.
   *
   * It gets the releases of all that the same cell met.
   */
  function reproduced({ byName, releases: order }, name, form) {
    const instances = byName
      .get(name)
      .messages.filter(({ message, type }) =>
        match(form, form.isHeaded ? `${type}: ${message}` : message),
      );
    const best = instances.find(({ printed }) => printed !== false) ?? instances[0];
    if (!best) return undefined;
    const same = instances.filter(
      ({ cell, printed }) => cell === best.cell && printed === best.printed,
    );
    const seen = new Set(same.flatMap(({ releases }) => releases));
    return { ...best, releases: order.filter((release) => seen.has(release)) };
  }

  /* The part of a text that matched, with what stands in its holes. */
  function linked({ part, start, holes, form }) {
    const before = form.parts[0].hole > 0 ? holes[form.parts[0].hole - 1].slice(-500) : "";
    const said = part.text.slice(start - before.length).slice(0, LINKED);
    return part.type ? `${part.type}: ${said}` : said;
  }

  /* A text without source, for a link: the frames first, for they are the least. */
  function shortened(text) {
    const parts = read(text);
    const frames = parts.filter(({ kind }) => kind === "frames");
    const places = frames.map(({ text }) => text.replace(/^(.*): (.*)$/gm, FRAMED));
    return [...places, said(parts)].join("\n\n").slice(-LINKED) || text.slice(-LINKED);
  }

  const FRAMED = '  File "$1", line 1, in $2';

  /* The parts of a text that say something. */
  const said = (parts) =>
    parts
      .filter(({ kind }) => kind !== "frames")
      .map(({ type, text }) => (type ? `${type}: ${text}` : text))
      .join("\n\n");

  globalThis.cookbookMatch = { read, template, match, prepare, find, rank, speaks, answer };
})();
