/* Let the keyboard reach what scrolls: what is wider or higher than its box. */
"use strict";

(() => {
  function mark() {
    for (const box of document.querySelectorAll("article pre, .table-wrapper")) {
      const isWider = box.scrollWidth > box.clientWidth;
      if (isWider || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  mark();
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, { capture: true });
})();
