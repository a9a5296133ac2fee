/* The filter of the gallery: by topic, by symptom, by what raises an error.
 *
 * The choice is in the address, so that it can be sent to somebody. The release is the
 * one of the picker, see releases.js.
 */
"use strict";

(() => {
  const form = document.querySelector(".gallery-filter");
  const { topic, symptom, fails } = form.elements;
  const cards = [...document.querySelectorAll(".gallery-topic .recipe-card")];
  const sections = [...document.querySelectorAll(".gallery-topic")];

  function restore() {
    const asked = new URLSearchParams(location.search);
    for (const select of [topic, symptom]) {
      const known = [...select.options].map((option) => option.value);
      const value = asked.get(select.name);
      if (known.includes(value)) select.value = value;
    }
    fails.checked = asked.get("fails") === "yes";
  }

  function reflect() {
    const address = new URL(location.href);
    const values = { topic: topic.value, symptom: symptom.value, fails: fails.checked ? "yes" : "" };
    for (const [name, value] of Object.entries(values)) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    if (address.href !== location.href) history.replaceState(history.state, "", address);
  }

  function fits(card, release) {
    const { symptoms, fails: failing } = card.dataset;
    if (topic.value && card.closest(".gallery-topic").id !== topic.value) return false;
    if (symptom.value && !symptoms.split("|").includes(symptom.value)) return false;
    return !fails.checked || failing.split(" ").includes(release);
  }

  function apply() {
    const release = document.documentElement.dataset.torch;
    form.elements.release.textContent = release;
    for (const card of cards) card.hidden = !fits(card, release);
    for (const section of sections) {
      section.hidden = !section.querySelector(".recipe-card:not([hidden])");
    }
    const count = cards.filter((card) => !card.hidden).length;
    form.querySelector("[role=status]").textContent = count
      ? `${count} of ${cards.length} recipes`
      : "No recipe fits all of this.";
    form.querySelector("button").hidden = count === cards.length;
  }

  restore();
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    reflect();
    apply();
  });
  form.addEventListener("reset", () => {
    setTimeout(() => {
      reflect();
      apply();
    });
  });
  new MutationObserver(apply).observe(document.documentElement, {
    attributeFilter: ["data-torch"],
  });
  apply();
})();
