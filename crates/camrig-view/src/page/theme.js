// Dark or light. Dark is the standard: pictures are judged better on it.

const PLACE = "camrig-theme";

/** Connects the button that changes the theme. Returns the function that it calls. */
export function chooseTheme(button) {
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "light" ? "dark" : "light";
  };
  show(localStorage.getItem(PLACE) === "light" ? "light" : "dark");
  const toggle = () => {
    const theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    localStorage.setItem(PLACE, theme);
    show(theme);
  };
  button.addEventListener("click", toggle);
  return toggle;
}
