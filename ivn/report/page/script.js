"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  root.classList.add("js");

  // Light and dark: what the system says, until asked.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  // Films: one clock for all, so that frames and features stay together.
  const films = all(".film[data-frames]").map((box) => ({
    image: box.querySelector("img"), frames: Number(box.dataset.frames),
  }));
  const play = document.getElementById("play");
  const when = document.getElementById("when");
  let timer = 0;
  const show = (share) => {
    for (const { image, frames } of films) {
      const frame = Math.min(frames - 1, Math.floor(share * frames));
      image.style.transform = `translateX(${-100 * frame / frames}%)`;
    }
  };
  const move = () => {
    when.value = (Number(when.value) + 1) % (Number(when.max) + 1);
    show(Number(when.value) / (Number(when.max) + 1));
  };
  const running = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(move, 320) : 0;
    play.textContent = on ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(on));
  };
  if (films.length) {
    play.addEventListener("click", () => running(!timer));
    when.addEventListener("input", () => {
      running(false);
      show(Number(when.value) / (Number(when.max) + 1));
    });
    running(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  // Charts: linear or logarithmic, and values under the pointer or the arrow keys.
  for (const choice of all("input[name=scale]")) {
    choice.addEventListener("change", () => { root.dataset.scale = choice.value; });
  }
  const say = (value) => {
    const size = Math.abs(value);
    return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(value);
  };
  const nearest = (xs, x) => {
    let best = 0;
    for (let i = 1; i < xs.length; i++) {
      if (Math.abs(xs[i] - x) < Math.abs(xs[best] - x)) best = i;
    }
    return best;
  };
  for (const svg of all("svg[data-chart]")) {
    const data = JSON.parse(svg.dataset.chart);
    const cursor = svg.querySelector(".cursor");
    const output = svg.parentElement.querySelector(".value");
    let at = -1;
    const read = (step) => {
      const own = data.s.map((one) => ({ n: one.n, i: nearest(one.x, step), one }));
      const first = own.reduce((a, b) =>
        Math.abs(a.one.x[a.i] - step) <= Math.abs(b.one.x[b.i] - step) ? a : b);
      at = first.one.x[first.i];
      const x = data.l + (at - data.x0) / (data.x1 - data.x0) * (data.r - data.l);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.classList.add("on");
      const values = own.map(({ n, i, one }) => (data.s.length > 1 ? `${n} ` : "") + say(one.y[i]));
      output.textContent = `step ${at}: ${values.join(", ")}`;
    };
    const clear = () => { cursor.classList.remove("on"); output.textContent = ""; at = -1; };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * data.w;
      read(data.x0 + (x - data.l) / (data.r - data.l) * (data.x1 - data.x0));
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const steps = data.s[0].x;
      const i = at < 0 ? (by > 0 ? 0 : steps.length - 1) : nearest(steps, at) + by;
      read(steps[Math.max(0, Math.min(steps.length - 1, i))]);
    });
  }
})();
