/* A problem is reported with the release of torch that the reader has chosen. */
"use strict";

document.querySelector(".launch-issue")?.addEventListener("click", (event) => {
  const link = event.currentTarget;
  const address = new URL(link.href);
  const release = document.documentElement.dataset.torch;
  const body = address.searchParams.get("body");
  address.searchParams.set("body", body.replace(/(torch: ).*/, `$1${release}`));
  link.href = address.href;
});
