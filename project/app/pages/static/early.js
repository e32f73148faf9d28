// Runs before anything is shown, so that nothing moves: the style sheet shows what needs scripts.
document.documentElement.classList.add("scripts");
