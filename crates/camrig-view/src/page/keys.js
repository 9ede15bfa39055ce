// The keys of the page, and the window that lists them.

/** The displayed names of some keys. */
const WORDS = { " ": "space", Escape: "Esc", ArrowLeft: "←", ArrowRight: "→" };

/**
 * Listens to keys. `keys` has, by key, a description and the function to call; `digit(number)` is called for 1 to 9,
 * and returns whether it did something.
 */
export function listenToKeys(keys, digit) {
  const dialog = document.querySelector("#keys");
  const all = { ...keys, "?": ["show these keys", () => (dialog.open ? dialog.close() : dialog.showModal())] };
  fill(dialog.querySelector("table"), all);
  document.addEventListener("keydown", (event) => {
    const isWriting = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting) return;
    if (dialog.open && event.key !== "?") return;
    if (event.key >= "1" && event.key <= "9" && digit(Number(event.key))) return;
    // A focused button handles the space bar itself.
    if (!all[event.key] || (event.key === " " && event.target.tagName === "BUTTON")) return;
    event.preventDefault();
    all[event.key][1]();
  });
  return all["?"][1];
}

function fill(table, keys) {
  const row = (words, does) => {
    const row = table.insertRow();
    row.insertCell().append(...words.map((word) => Object.assign(document.createElement("kbd"), { textContent: word })));
    row.insertCell().textContent = does;
  };
  row(["1 to 9"], "enlarge a camera");
  for (const [key, [does]] of Object.entries(keys)) row([WORDS[key] ?? key], does);
}
