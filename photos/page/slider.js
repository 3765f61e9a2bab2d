document.documentElement.classList.add("sliding");
for (const range of document.querySelectorAll(".slider input")) {
  const move = () => {
    range.parentElement.style.setProperty("--at", range.value);
    range.setAttribute("aria-valuetext", `your photo on the left ${range.value} %, the copy on the rest`);
  };
  range.addEventListener("input", move);
  move();
}
