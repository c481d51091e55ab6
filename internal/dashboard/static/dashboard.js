// The page: which view is shown, and the keyboard.

import { h, runAddress } from "./dom.js";
import { showList } from "./list.js";
import { showRun } from "./run.js";
import { showCompare } from "./compare.js";

const main = document.getElementById("main");
const crumbs = document.getElementById("crumbs");
const help = document.getElementById("help");
let view = null;

// setTitle names the view in the browser's tab and in the path at the top.
function setTitle(text) {
  const title = text ? `${text} · tune` : "tune";
  if (document.title === title && crumbs.childElementCount === (text ? 2 : 0)) return;
  document.title = title;
  crumbs.replaceChildren(...(text ? [h("a", { href: "#/" }, "runs"), h("span", { "aria-current": "page" }, text)] : []));
}

// show draws what the address names: #/, #/run/ID or #/compare/ID,ID.
function show() {
  view?.close();
  const [, kind, rest = ""] = location.hash.split("/");
  const ids = rest.split(",").filter(Boolean).map(decodeURIComponent);
  if (kind === "run" && ids.length > 0) {
    setTitle(ids[0]);
    view = showRun(main, ids[0], setTitle);
  } else if (kind === "compare" && ids.length === 1) {
    location.replace(runAddress(ids[0]));
  } else if (kind === "compare" && ids.length > 1) {
    view = showCompare(main, [...new Set(ids)].slice(0, 24), setTitle);
  } else {
    setTitle("");
    view = showList(main);
  }
  scrollTo(0, 0);
}

addEventListener("hashchange", show);
document.getElementById("help-button").addEventListener("click", () => help.showModal());

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || help.open) return;
  const typing = e.target.matches("input:not([type=checkbox]), textarea");
  if (typing && !["Escape", "Enter", "ArrowDown"].includes(e.key)) return;
  if (e.key === "?") help.showModal();
  else if (!view?.key(e)) return;
  e.preventDefault();
});

show();
