"use strict";
// On paper everything is drawn and unfolded, but for the data of charts and the bar of filters.
{
  let opened = [];
  const prepare = () => {
    if (opened.length) return;
    opened = Array.from(document.querySelectorAll("details:not([open], .data, .vega-embed > details, #filters details)"));
    for (const part of opened) part.open = true;
    drawAll();
  };
  const restore = () => {
    for (const part of opened) part.open = false;
    opened = [];
  };
  addEventListener("beforeprint", prepare);
  addEventListener("afterprint", restore);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? prepare() : restore()));
}
