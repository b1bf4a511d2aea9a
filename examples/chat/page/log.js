// The list of messages: grouped by author, parted by day, kept at its end while the reader is there.

import { avatar, dayText, icon, make, timeOf, withLinks } from "./parts.js";

const GROUP = 5 * 60_000;
const NEAR_END = 90; // px
const WIDEST = 340; // px
const HIGHEST = 360; // px
const NARROWEST = 240; // px, of a picture's bubble with a text below
const KEPT = 300;

const STATES = {
  sending: ["clock", "Sending"],
  waiting: ["clock", "Sent when the connection is back"],
  delivered: ["tick", "Delivered"],
};

export class Log {
  constructor({ scroller, list, toNewest, toNewestText, isMine, retry, fetchPicture, viewPicture }) {
    Object.assign(this, { scroller, list, toNewest, toNewestText, isMine, retry, fetchPicture, viewPicture });
    this.entries = [];
    this.rows = new Map();
    this.unread = 0;
    this.atEnd = true;
    this.seen = new IntersectionObserver((changes) => this.#inSight(changes), { root: scroller, rootMargin: "300px" });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    toNewest.addEventListener("click", () => this.toEnd(true));
    new ResizeObserver(() => this.atEnd && this.toEnd()).observe(scroller);
  }

  show(entries) {
    this.entries = entries;
    this.#fill();
    this.toEnd();
  }

  add(entry) {
    const last = this.entries.at(-1);
    this.entries.push(entry);
    this.list.append(...this.#elements(entry, last));
    if (this.entries.length > KEPT) this.#forgetOldest();
    if (this.atEnd || this.isMine(entry)) {
      this.toEnd();
    } else if (entry.kind === "message") {
      this.unread += 1;
      this.#showToNewest();
    }
  }

  update(entry) {
    const row = this.rows.get(entry.id);
    if (!row) return;
    row.dataset.state = entry.state ?? "";
    row.querySelector(".meta").replaceWith(this.#meta(entry));
  }

  toEnd(smooth = false) {
    this.scroller.scrollTo({ top: this.scroller.scrollHeight, behavior: smooth ? "smooth" : "instant" });
    this.atEnd = true;
    this.unread = 0;
    this.#showToNewest();
  }

  #fill() {
    // A whole history is not news: only what comes after it is read out.
    this.scroller.setAttribute("aria-busy", "true");
    this.seen.disconnect();
    this.rows.clear();
    const elements = this.entries.flatMap((entry, index) => this.#elements(entry, this.entries[index - 1]));
    this.list.replaceChildren(...elements);
    this.scroller.setAttribute("aria-busy", "false");
  }

  #forgetOldest() {
    const { top, height } = { top: this.scroller.scrollTop, height: this.scroller.scrollHeight };
    for (const entry of this.entries.splice(0, this.entries.length - KEPT)) {
      if (entry.url) URL.revokeObjectURL(entry.url);
    }
    this.#fill();
    this.scroller.scrollTop = top + this.scroller.scrollHeight - height;
  }

  #elements(entry, before) {
    const elements = [];
    const newDay = !before || new Date(before.at).toDateString() !== new Date(entry.at).toDateString();
    if (newDay) elements.push(make("li", { class: "day" }, make("span", {}, dayText(entry.at))));
    if (entry.kind === "notice") {
      elements.push(make("li", { class: "notice" }, make("span", {}, entry.text)));
      return elements;
    }
    const follows =
      !newDay && before.kind === "message" && before.author.id === entry.author.id && entry.at - before.at < GROUP;
    elements.push(this.#message(entry, follows));
    return elements;
  }

  #message(entry, follows) {
    const mine = this.isMine(entry);
    const bubble = make("div", { class: "bubble" });
    if (entry.picture) {
      const picture = this.#picture(entry);
      bubble.append(picture);
      bubble.style.maxWidth = `min(100%, ${Math.max(picture.firstChild.width || WIDEST, NARROWEST)}px)`;
    }
    if (entry.text) bubble.append(make("p", { class: "text" }, ...withLinks(entry.text)));
    const author = make("p", { class: mine || follows ? "author unseen" : "author" }, mine ? "You" : entry.author.name);
    const body = make("div", { class: "body" }, author, bubble, this.#meta(entry));
    const row = make("li", { class: "message", "data-id": entry.id, "data-state": entry.state ?? "" });
    row.classList.toggle("mine", mine);
    row.classList.toggle("follows", follows);
    row.classList.toggle("only-picture", Boolean(entry.picture && !entry.text));
    if (!mine) row.append(follows ? make("span", { class: "avatar-gap" }) : avatar(entry.author));
    row.append(body);
    this.rows.set(entry.id, row);
    return row;
  }

  #meta(entry) {
    const meta = make("p", { class: "meta" });
    if (entry.state === "failed") {
      const again = make("button", { type: "button", class: "retry" }, icon("warning"), "Not delivered. Try again");
      again.title = entry.why ?? "No answer came.";
      again.addEventListener("click", () => this.retry(entry));
      meta.append(again);
      return meta;
    }
    meta.append(timeOf(entry.at));
    const [name, label] = STATES[entry.state] ?? [];
    if (name) {
      const inWords = make("span", { class: "unseen" }, label);
      meta.append(make("span", { class: "state", title: label }, icon(name), inWords));
    }
    return meta;
  }

  #picture(entry) {
    const { width, height } = entry.picture;
    const button = make("button", { type: "button", class: "picture", "data-id": entry.id });
    const image = make("img", { alt: `Picture from ${entry.author.name}`, decoding: "async" });
    if (width && height) {
      const scale = Math.min(1, WIDEST / width, HIGHEST / height);
      image.width = Math.max(1, Math.round(width * scale));
      image.height = Math.max(1, Math.round(height * scale));
    } else {
      image.addEventListener("load", () => this.atEnd && this.toEnd());
    }
    button.append(image);
    button.addEventListener("click", () => entry.url && this.viewPicture(entry));
    if (entry.url) image.src = entry.url;
    else this.#await(button);
    return button;
  }

  #await(button) {
    button.classList.add("loading");
    this.seen.observe(button);
  }

  async #inSight(changes) {
    for (const { isIntersecting, target } of changes) {
      if (!isIntersecting) continue;
      this.seen.unobserve(target);
      const entry = this.entries.find((other) => other.id === target.dataset.id);
      if (!entry) continue;
      entry.url ??= await this.fetchPicture(entry);
      target.classList.remove("loading");
      if (entry.url) target.firstChild.src = entry.url;
      else target.replaceChildren(make("span", { class: "gone" }, icon("picture"), "This picture is no longer kept"));
    }
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (this.atEnd) this.unread = 0;
    this.#showToNewest();
  }

  #showToNewest() {
    this.toNewest.hidden = this.atEnd;
    this.toNewestText.textContent = this.unread ? `${this.unread} new` : "Newest";
  }
}
