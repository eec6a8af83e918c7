// Optional: every page works without this. Local times on hover, arrow keys in strips, filters that apply at once.
"use strict";

(() => {
  document.documentElement.classList.add("js");

  // Hovering over a UTC time shows the local time.
  for (const time of document.querySelectorAll("time[datetime*='T']")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) {
      const local = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      time.title = `${time.title} · here ${local}`;
    }
  }

  // A choice applies at once; typed text applies with Enter.
  for (const form of document.querySelectorAll("form.filters")) {
    form.addEventListener("change", (event) => {
      if (event.target instanceof HTMLSelectElement) submit(form);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit(form);
    });
  }

  function submit(form) {
    const url = new URL(form.action || location.href, location.href);
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
    url.search = query.toString();
    location.assign(url);
  }

  // "/" moves to the search field.
  document.addEventListener("keydown", (event) => {
    const field = document.querySelector("#q, #region");
    const isTyping = event.target instanceof Element && event.target.closest("input, select, textarea");
    if (event.key === "/" && field && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
    }
  });

  // A strip is one tab stop; the arrow keys move from day to day, and each day has a label.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  for (const strip of document.querySelectorAll(".strip")) prepare(strip);

  function prepare(strip) {
    const count = Number(strip.dataset.count);
    const from = Date.parse(`${strip.dataset.from}T00:00:00Z`);
    const said = strip.dataset.days.split("|").map((part) => {
      const blank = part.indexOf(" ");
      return { at: Number(part.slice(0, blank)), text: part.slice(blank + 1) };
    });
    let day = count - 1;
    strip.setAttribute("role", "slider");
    strip.setAttribute("tabindex", "0");
    strip.setAttribute("aria-valuemin", "1");
    strip.setAttribute("aria-valuemax", String(count));
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.hidden = true;
    strip.append(mark);

    const text = () => {
      const date = new Date(from + day * 86400000).toISOString().slice(0, 10);
      let found = "";
      for (const part of said) if (part.at <= day) found = part.text;
      return `${date}: ${found}`;
    };
    const tell = () => {
      strip.setAttribute("aria-valuenow", String(day + 1));
      strip.setAttribute("aria-valuetext", text());
    };
    const show = () => {
      tell();
      const box = strip.getBoundingClientRect();
      const width = box.width / count;
      mark.hidden = false;
      mark.style.left = `${day * width}px`;
      mark.style.width = `${Math.max(width, 2)}px`;
      tip.textContent = text();
      tip.hidden = false;
      const half = tip.offsetWidth / 2;
      const middle = box.left + (day + 0.5) * width;
      const left = Math.min(Math.max(middle, half + 8), document.documentElement.clientWidth - half - 8);
      const above = box.top - tip.offsetHeight - 6;
      tip.style.left = `${left - half + scrollX}px`;
      tip.style.top = `${(above > 4 ? above : box.bottom + 6) + scrollY}px`;
    };
    const hide = () => {
      mark.hidden = true;
      tip.hidden = true;
    };
    const move = (to) => {
      day = Math.min(Math.max(to, 0), count - 1);
      show();
    };
    tell();
    strip.addEventListener("focus", () => strip.matches(":focus-visible") && show());
    strip.addEventListener("blur", hide);
    strip.addEventListener("pointermove", (event) => {
      const box = strip.getBoundingClientRect();
      move(Math.floor(((event.clientX - box.left) / box.width) * count));
    });
    strip.addEventListener("pointerleave", hide);
    strip.addEventListener("keydown", (event) => {
      const to = {
        ArrowLeft: day - 1, ArrowDown: day - 1, ArrowRight: day + 1, ArrowUp: day + 1,
        PageDown: day - 7, PageUp: day + 7, Home: 0, End: count - 1,
      }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      move(to);
    });
  }
})();
