"use strict";
{
  const main = document.querySelector("main");
  const form = document.querySelector("form");
  const { filter, sort, order, only } = form.elements;
  const count = document.querySelector(".count");
  const plain = (text) => text.normalize("NFC").toLowerCase().replace(/\s+/g, " ");
  const cards = [...main.children].map((node, place) => ({
    node,
    place,
    looks: node.querySelector("details") !== null,
    scores: JSON.parse(node.dataset.scores),
    prompts: [...node.querySelectorAll(".prompt")].map((p) => plain(p.textContent)),
  }));

  const show = () => {
    const wanted = plain(filter.value).trim();
    let shown = 0;
    for (const { node, looks, prompts } of cards) {
      const missed = wanted !== "" && !prompts.some((p) => p.includes(wanted));
      node.hidden = missed || (only?.checked && !looks);
      shown += !node.hidden;
    }
    count.textContent = `${shown} of ${cards.length} images`;
  };

  const arrange = () => {
    const sign = order.value === "ascending" ? 1 : -1;
    const value = ({ place, scores }) => (sort.value === "" ? place : scores[sort.value]);
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      // An image without the score goes last in either direction.
      if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;
      return sign * (x - y) || a.place - b.place;
    };
    main.append(...[...cards].sort(compare).map((card) => card.node));
  };

  filter.addEventListener("input", show);
  // Absent if no card shows attention.
  only?.addEventListener("change", show);
  sort.addEventListener("change", arrange);
  order.addEventListener("change", arrange);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  // A reloaded page keeps what was typed and chosen.
  arrange();
  show();
}
