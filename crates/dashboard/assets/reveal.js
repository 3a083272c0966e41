// The page that shows a secret once: as a dialog, with a warning before it is left. The secret is removed on leaving.

const part = document.querySelector("[data-secret-page]");
if (part) show(part);

function show(part) {
  const sheet = document.getElementById("sheet");
  let kept = false;
  let warned = false;
  const keep = () => { kept = true; };
  const done = part.querySelector("[data-done]");

  sheet.replaceChildren(part);
  sheet.setAttribute("role", "dialog");
  sheet.setAttribute("aria-labelledby", "sheet-title");
  sheet.showModal();
  const field = part.querySelector("#secret");
  field.addEventListener("focus", () => field.select());
  field.focus();

  document.addEventListener("keyreeve:copied", keep);
  part.querySelector("[data-saved]").addEventListener("change", (event) => { kept = event.target.checked; });
  part.querySelector("[data-download]").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([`${part.querySelector("#env").value}\n`], { type: "text/plain" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "api-key.env";
    link.click();
    URL.revokeObjectURL(address);
    keep();
  });

  const leave = (event) => {
    if (kept || warned) {
      removeEventListener("beforeunload", hold);
      return true;
    }
    event.preventDefault();
    warned = true;
    part.querySelector("[data-leave]").hidden = false;
    return false;
  };
  const hold = (event) => {
    if (!kept) event.preventDefault();
  };
  addEventListener("beforeunload", hold);
  done.addEventListener("click", leave);
  sheet.addEventListener("cancel", (event) => {
    event.preventDefault();
    if (leave(event)) location.assign(done.href);
  });
  // A click outside the dialog must not close it: the key would be lost.
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet) event.stopImmediatePropagation();
  }, { capture: true });

  // The back/forward cache may keep the page: the secret is removed before.
  addEventListener("pagehide", () => {
    for (const input of part.querySelectorAll("input")) {
      input.value = "";
      input.removeAttribute("value");
    }
    part.remove();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.replace(done.href);
  });
  watch(part.querySelector("[data-first-use]"));
}

/** Shows when the key is first used. Polls every three seconds, for ten minutes. */
function watch(line) {
  let left = 200;
  const timer = setInterval(async () => {
    left -= 1;
    if (left === 0 || !line.isConnected) clearInterval(timer);
    const answer = await fetch(line.dataset.firstUse).catch(() => null);
    if (!answer?.ok) return;
    const { text } = await answer.json();
    if (text) {
      line.textContent = text;
      clearInterval(timer);
    }
  }, 3000);
}
