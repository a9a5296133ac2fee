/* Let the keyboard reach what scrolls: code that is wider than its box. */
"use strict";

(() => {
  function mark() {
    for (const box of document.querySelectorAll("article pre, .table-wrapper")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  mark();
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, { capture: true });
})();
