// What script adds to pages that also work without it: dialogs, a count of the selected rows, keyboard shortcuts.
// Trusted Types are enforced, so no markup is made from text: XMLHttpRequest parses pages from the server as documents.

const root = document.documentElement;
root.classList.add("script");
const sheet = document.getElementById("sheet");
let opener = null;

/** Fetches a page and returns its part for a dialog, or null if it has none. */
function ask(address) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.onload = () => resolve(request.response?.querySelector("[data-dialog]") ?? null);
    request.onerror = () => resolve(null);
    request.send();
  });
}

/** Shows a page's part for a dialog as a dialog. If it has none, opens the page. */
async function open(address, from) {
  const part = await ask(address);
  if (!part || !sheet) {
    location.assign(address);
    return;
  }
  // A button inside a menu disappears with the menu: focus later returns to the button that opened the menu.
  const menu = from?.closest("[popover]");
  opener = menu ? document.querySelector(`[popovertarget="${menu.id}"]`) : from;
  menu?.hidePopover();
  sheet.replaceChildren(document.adoptNode(part));
  sheet.setAttribute("role", part.dataset.dialog);
  sheet.setAttribute("aria-labelledby", "sheet-title");
  ready(sheet);
  if (!sheet.open) sheet.showModal();
  // The focus is on Cancel if the action ends something, so that pressing Enter at once changes nothing.
  const first = part.dataset.dialog === "alertdialog" ? "[data-cancel]" : "[autofocus], input:not([type=hidden]), select, textarea";
  // No scrolling to the focus: the dialog opens at its top, with the heading visible.
  (part.querySelector(first) ?? part.querySelector("[data-cancel]"))?.focus({ preventScroll: true });
  sheet.scrollTop = 0;
}

sheet?.addEventListener("close", () => {
  sheet.replaceChildren();
  opener?.focus();
  opener = null;
});
sheet?.addEventListener("click", (event) => {
  if (event.target === sheet) sheet.close();
});

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  const link = target?.closest("a[data-opens]");
  if (link && plain) {
    event.preventDefault();
    open(link.href, link);
    return;
  }
  const cancel = target?.closest("[data-cancel]");
  if (cancel && plain && sheet?.contains(cancel)) {
    event.preventDefault();
    sheet.close();
    return;
  }
  const copy = target?.closest("[data-copy]");
  if (copy) copyText(copy);
});

// A link with the role of a button reacts to the space bar like a button. It is a link to work without script.
document.addEventListener("keydown", (event) => {
  const link = event.key === " " && event.target instanceof Element && event.target.closest('a[role="button"]');
  if (link) {
    event.preventDefault();
    link.click();
  }
});

/** Copies the text of a field or an element, and shows that it was copied. */
async function copyText(button) {
  const from = document.getElementById(button.dataset.copy);
  if (!from) return;
  const text = "value" in from ? from.value : from.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard needs permission and a secure context. Otherwise: select and copy.
    if (!("select" in from)) return;
    from.select();
    if (!document.execCommand("copy")) return;
  }
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = "Copied";
  const said = document.querySelector("[data-said]");
  if (said) said.textContent = "Copied";
  document.dispatchEvent(new CustomEvent("keyreeve:copied", { detail: button.dataset.copy }));
  setTimeout(() => { button.textContent = before; }, 2000);
}

/** Prepares forms that are sent at most once, and buttons that need a typed phrase. */
function ready(part) {
  for (const form of part.querySelectorAll("form[data-once]")) {
    const phrase = form.querySelector("[data-phrase]");
    const buttons = form.querySelectorAll("button.danger");
    const check = () => {
      for (const button of buttons) button.disabled = phrase.value.trim() !== phrase.dataset.phrase;
    };
    if (phrase) {
      phrase.addEventListener("input", check);
      phrase.addEventListener("change", check);
      check();
    }
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  for (const field of part.querySelectorAll("input.secret")) field.addEventListener("focus", () => field.select());
}
ready(document);
// A form may be sent again after its page returned from the back/forward cache.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Selection of several keys.
const ticks = [...document.querySelectorAll('input[type="checkbox"][name="id"]')];
const all = document.querySelector("[data-all]");
const count = document.querySelector("[data-count]");
if (ticks.length > 0 && count) {
  const buttons = document.querySelectorAll('[form="selection"][name="action"]');
  const show = () => {
    const chosen = ticks.filter((tick) => tick.checked).length;
    count.textContent = chosen === 0 ? "Select keys to change several at once." : `${chosen} selected`;
    for (const button of buttons) button.disabled = chosen === 0;
    if (all) {
      all.hidden = false;
      all.checked = chosen === ticks.length;
      all.indeterminate = chosen > 0 && chosen < ticks.length;
    }
  };
  for (const tick of ticks) tick.addEventListener("change", show);
  all?.addEventListener("change", () => {
    for (const tick of ticks) tick.checked = all.checked;
    show();
  });
  show();
}
document.getElementById("selection")?.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button?.hasAttribute("data-opens-form")) return;
  event.preventDefault();
  const query = new URLSearchParams(new FormData(event.target));
  query.set("action", button.value);
  open(`/keys/selected?${query}`, button);
});

// A form whose only field is a choice is sent when the choice changes.
for (const select of document.querySelectorAll(".paging select, .filter > select")) {
  select.addEventListener("change", () => select.form?.requestSubmit());
}

// Countdowns.
for (const time of document.querySelectorAll("[data-countdown]")) {
  const words = time.textContent.replace(/ \(.*$/, "");
  const tick = () => {
    const left = Math.max(0, Math.round((Date.parse(time.dateTime) - Date.now()) / 1000));
    const parts = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    time.textContent = `${words} (${parts.map((part) => String(part).padStart(2, "0")).join(":")} left)`;
  };
  tick();
  setInterval(tick, 1000);
}

// Keyboard shortcuts, unless they are switched off (WCAG 2.1.4).
if (document.body.hasAttribute("data-shortcuts")) {
  const rows = [...document.querySelectorAll("tr[data-key] .name")];
  const move = (step) => {
    const at = rows.indexOf(document.activeElement?.closest("tr")?.querySelector(".name"));
    rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
  };
  const keys = {
    "/": () => document.getElementById("query")?.focus(),
    n: () => document.querySelector("[data-new]")?.click(),
    j: () => move(1),
    k: () => move(-1),
    "?": () => document.getElementById("shortcuts")?.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea, [contenteditable]");
    if (typing || event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
}
