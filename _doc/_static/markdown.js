/* "Copy as Markdown", in the row of links of a recipe.
 *
 * A page that is opened from a disk may not read the Markdown, and has no button: the
 * link beside it opens the file.
 */
"use strict";

(() => {
  const WORDS = "Copy as Markdown";
  const SHOWN = 2000; // milliseconds that a button says what happened

  const link = document.querySelector('link[rel="alternate"][type="text/markdown"]');
  const place = document.querySelector(".recipe-markdown");
  if (!link || !place || !navigator.clipboard || !/^http/.test(location.protocol)) return;

  async function read() {
    const answer = await fetch(link.href);
    if (!answer.ok) throw new Error(`${link.href}: ${answer.status}`);
    return answer.text();
  }

  /* Safari lets a script write only what was promised when the reader clicked. */
  async function copy() {
    if (!globalThis.ClipboardItem) return navigator.clipboard.writeText(await read());
    const blob = read().then((text) => new Blob([text], { type: "text/plain" }));
    return navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
  }

  const entry = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy-markdown";
  button.textContent = WORDS;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await copy();
      button.textContent = "Copied";
    } catch {
      button.textContent = "Could not copy";
    }
    setTimeout(() => (button.textContent = WORDS), SHOWN);
  });
  entry.append(button);
  place.after(entry);
})();
