// Highlights a name in all programs at once. Names that are equal in plain form are one "idea".

export const plain = (name) => name.replaceAll("_", "").toLowerCase();

let kept = "";

export function followIdeas(main) {
  const over = (event) => mark(main, ideaAt(event) || kept);
  main.addEventListener("pointerover", over);
  main.addEventListener("pointerleave", () => mark(main, kept));
  main.addEventListener("focusin", over);
  main.addEventListener("click", (event) => {
    const idea = ideaAt(event);
    if (!idea) return;
    kept = idea === kept ? "" : idea;
    for (const one of main.querySelectorAll("button[data-idea]"))
      one.setAttribute("aria-pressed", one.dataset.idea === kept);
    mark(main, kept);
  });
}

const ideaAt = (event) => event.target.closest("[data-idea]")?.dataset.idea;

export const isKept = (idea) => idea === kept;

function mark(main, idea) {
  for (const one of main.querySelectorAll(".lit")) one.classList.remove("lit");
  if (!idea) return;
  for (const one of main.querySelectorAll(`[data-idea="${CSS.escape(idea)}"]`))
    one.classList.add("lit");
}
