/* Light or dark: what furo's inline script does, as the first thing in <body>. */
"use strict";

try {
  document.body.dataset.theme = localStorage.getItem("theme") || "auto";
} catch {
  document.body.dataset.theme = "auto"; // memory is forbidden
}
