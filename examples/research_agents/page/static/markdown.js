// A small, safe subset of Markdown as DOM nodes: paragraphs, headings, lists, code, strong text and [n].
// Everything else, HTML included, is shown as the text it is.

import { el } from "./dom.js";

const FENCE = /^\s{0,3}```/;
// Each of them takes whatever remains of the line, so that none can try again and again: texts are other people's.
const HEADING = /^(#{1,6})\s+(.+)$/s;
const BULLET = /^\s*[-*+\u2022]\s+(.*)$/s;
const NUMBERED = /^\s*\d{1,3}[.)]\s+(.*)$/s;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|(?<!\w)\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;
const TOP_HEADING = 4; // the question above the answer is an h3
const LONGEST = 100_000; // characters; a book's chapter or two. Much more would freeze the page of who reads it
const TOO_LONG = "\n\n(The rest is too long to be shown here; the API has it all.)";

/**
 * Show text in a container, touching only the blocks that have changed since the last call: a growing answer keeps the
 * reader's selection, and a screen reader is not told the same paragraph again.
 *
 * @param {Element} container
 * @param {string} source
 * @param {(n: number) => Node|null} cite makes the link for [n]; null where there is no such source
 * @param {boolean} renew draw everything again, e.g. because the sources are known now
 */
export function showMarkdown(container, source, cite, renew = false) {
  const blocks = blocksOf(source.length > LONGEST ? source.slice(0, LONGEST) + TOO_LONG : source);
  if (renew) container.replaceChildren();
  let shown = container.firstElementChild;
  for (const block of blocks) {
    const key = `${block.kind}\n${block.lines.join("\n")}`;
    const next = shown?.nextElementSibling ?? null;
    if (!shown || KEYS.get(shown) !== key) {
      const node = nodeOf(block, cite);
      KEYS.set(node, key);
      if (shown) shown.replaceWith(node);
      else container.append(node);
    }
    shown = next;
  }
  for (; shown; ) {
    const next = shown.nextElementSibling;
    shown.remove();
    shown = next;
  }
}

const KEYS = new WeakMap();

function blocksOf(source) {
  const blocks = [];
  let open = null; // the block that the next line may continue
  const add = (kind, line, more = {}) => {
    if (open?.kind === kind) open.lines.push(line);
    else blocks.push((open = { kind, lines: [line], ...more }));
  };
  let fenced = null;
  for (const line of source.replace(/\r\n?/g, "\n").split("\n")) {
    if (fenced) {
      if (FENCE.test(line)) fenced = null;
      else fenced.lines.push(line);
      continue;
    }
    let match;
    if (FENCE.test(line)) {
      blocks.push((fenced = { kind: "pre", lines: [] }));
      open = null;
    } else if (!line.trim()) {
      open = null;
    } else if ((match = HEADING.exec(line))) {
      blocks.push({ kind: `h${Math.min(match[1].length + TOP_HEADING - 1, 6)}`, lines: [unclosed(match[2])] });
      open = null;
    } else if ((match = BULLET.exec(line))) {
      add("ul", match[1]);
    } else if ((match = NUMBERED.exec(line))) {
      add("ol", match[1], { start: Number.parseInt(line, 10) });
    } else if (open && open.kind !== "p" && /^\s/.test(line)) {
      open.lines[open.lines.length - 1] += `\n${line.trim()}`; // an item that goes on
    } else {
      add("p", line);
    }
  }
  return blocks;
}

/** A heading without the number signs that may close it. */
function unclosed(heading) {
  const words = heading.trim();
  let end = words.length;
  while (end > 1 && words[end - 1] === "#") end -= 1;
  return /\s/.test(words[end - 1]) ? words.slice(0, end).trimEnd() : words;
}

function nodeOf(block, cite) {
  if (block.kind === "pre") return el("pre", { tabindex: 0 }, el("code", {}, block.lines.join("\n")));
  if (block.kind === "ul" || block.kind === "ol") {
    const items = block.lines.map((line) => el("li", {}, ...inline(line, cite)));
    return el(block.kind, { start: block.start > 1 ? block.start : null }, ...items);
  }
  return el(block.kind, {}, ...inline(block.lines.join("\n"), cite));
}

/** The nodes of one run of text: code, strong text and links to sources. */
export function inline(source, cite) {
  const nodes = [];
  let end = 0;
  for (const match of source.matchAll(INLINE)) {
    nodes.push(source.slice(end, match.index));
    const [whole, code, strong, numbers] = match;
    if (code !== undefined) nodes.push(el("code", {}, code));
    else if (strong !== undefined) nodes.push(el("strong", {}, ...inline(strong, cite)));
    else nodes.push(...citations(whole, numbers, cite));
    end = match.index + whole.length;
  }
  nodes.push(source.slice(end));
  return nodes.filter((node) => node !== "");
}

function citations(whole, numbers, cite) {
  const links = numbers.split(",").map((number) => cite(Number(number)));
  return links.every(Boolean) ? links.flatMap((link, position) => (position ? ["\u00a0", link] : [link])) : [whole];
}
