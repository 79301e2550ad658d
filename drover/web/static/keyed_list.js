// A list that updates only rows whose item changed, so that it stays fast with a thousand rows.

export class KeyedList {
  #container;
  #make;
  #rows = new Map();

  /**
   * @param container the element that holds the rows
   * @param make returns `{element, update(item), end?()}` for the item of a new key
   */
  constructor(container, make) {
    this.#container = container;
    this.#make = make;
  }

  /** Shows these `[key, item]` in this order; a row whose item is the same object as before is not updated. */
  show(entries) {
    const wanted = new Map(entries);
    for (const [key, row] of this.#rows) {
      if (!wanted.has(key)) this.#remove(key, row);
    }
    let place = this.#container.firstElementChild;
    for (const [key, item] of wanted) {
      const row = this.#rows.get(key) ?? this.#add(key, item);
      if (row.item !== item) {
        row.item = item;
        row.update(item);
      }
      if (row.element === place) place = place.nextElementSibling;
      else this.#container.insertBefore(row.element, place);
    }
  }

  /** Returns every row that is shown. */
  rows() {
    return this.#rows.values();
  }

  #add(key, item) {
    const row = { item: undefined, ...this.#make(item) };
    this.#rows.set(key, row);
    return row;
  }

  #remove(key, row) {
    row.element.remove();
    row.end?.();
    this.#rows.delete(key);
  }
}
