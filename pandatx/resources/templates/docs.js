"use strict";
(function () {
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const all = Array.from(document.querySelectorAll("details"));
  const sections = Array.from(document.querySelectorAll("section"));
  function search() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const each of all) {
      const fits = words.every((word) => each.dataset.words.includes(word));
      each.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    for (const section of sections) {
      section.hidden = !section.querySelector("details:not([hidden])");
    }
    found.textContent = words.length ? shown + " of " + all.length : "";
  }
  function open() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  }
  find.addEventListener("input", search);
  window.addEventListener("hashchange", open);
  search();
  open();
})();
