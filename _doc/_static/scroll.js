/* Let the keyboard reach what scrolls: code and outputs that are larger than their box. */
"use strict";

(() => {
  function mark() {
    for (const box of document.querySelectorAll("article pre, .table-wrapper")) {
      const isWide = box.scrollWidth > box.clientWidth;
      const isHigh = box.scrollHeight > box.clientHeight;
      if (isWide || isHigh) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  mark();
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, { capture: true });
})();
