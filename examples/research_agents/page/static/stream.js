// Server-sent events over fetch: EventSource can neither POST nor send a header.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.5 and 9.2.6

import { ConnectionError, ProblemError } from "./api.js";

const SILENCE_MS = 45_000; // the server sends a comment every 10 s; four missed ones are a dead connection
const FAILURES = 5; // in a row, without an event in between: half a minute of trying
const RECONNECTS = 40; // in one run, so that a server that always cuts is left in the end
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const LONGEST_EVENT = 8_000_000; // characters; no answer is that long
const BUSY = new Set([429, 502, 503, 504]);

/** Something came that is no event stream of ours; asking again would not help. */
export class UnreadableError extends Error {
  constructor(message) {
    super(message);
    this.name = "UnreadableError";
  }
}

/** Splits text, however it was cut, into events {name, id, data}. */
export class EventParser {
  #begun = []; // the pieces of a line that has not ended; joined once, however many they are
  #return = ""; // a carriage return at the very end, which may be half of a CRLF
  #data = [];
  #name = "";
  #id = "";
  #size = 0; // characters of the event that has not ended

  /** The events that are complete with this piece. Comments and fields nobody knows are dropped. */
  push(piece) {
    if (!piece) return [];
    const events = [];
    const whole = this.#return + piece;
    this.#return = whole.endsWith("\r") ? "\r" : "";
    const text = this.#return ? whole.slice(0, -1) : whole;
    let start = 0;
    for (const match of text.matchAll(/\r\n|\n|\r/g)) {
      this.#begun.push(text.slice(start, match.index));
      this.#size += match.index + match[0].length - start;
      start = match.index + match[0].length;
      const event = this.#line(this.#begun.join(""));
      this.#begun = [];
      if (event) events.push(event);
    }
    this.#begun.push(text.slice(start));
    this.#size += text.length - start;
    if (this.#size > LONGEST_EVENT) throw new UnreadableError("The server sent an event without an end.");
    return events;
  }

  #line(line) {
    if (line === "") {
      const event = this.#data.length ? { name: this.#name || "message", id: this.#id, data: this.#data.join("\n") } : null;
      this.#data = [];
      this.#name = "";
      this.#size = 0;
      return event;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }
}

/**
 * Follow a run to its end, over as many connections as that takes.
 *
 * A broken connection is resumed by the same request with `Last-Event-ID`. Before the first event there is nothing to
 * resume, and to ask again would be to pay twice, so that is an error at once.
 *
 * @param {{send: Function}} client
 * @param {string} path where to POST
 * @param {object} json the body
 * @param {{onEvent: (name: string, data: object) => boolean, onWait?: (seconds: number) => void, signal: AbortSignal}} how
 *   `onEvent` returns true when that was the last event.
 */
export async function follow(client, path, json, { onEvent, onWait, signal }) {
  const seen = { id: "", run: "", position: 0 };
  for (let failures = 0, reconnects = 0; ; reconnects += 1) {
    let fault;
    try {
      for await (const event of connect(client, path, json, seen.id, signal)) {
        if (isRepeated(event.id, seen)) continue;
        failures = 0;
        if (onEvent(event.name, dataOf(event))) return;
      }
      fault = new ConnectionError("The connection ended before the answer did.");
    } catch (error) {
      if (signal.aborted) throw error;
      const again = error instanceof ConnectionError || (error instanceof ProblemError && BUSY.has(error.status));
      if (!again || !seen.id) throw error;
      fault = error;
    }
    failures += 1;
    if (!seen.id || failures > FAILURES || reconnects >= RECONNECTS) throw fault;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
    const asked = (fault.retryAfterSeconds ?? 0) * 1000;
    onWait?.(Math.ceil(Math.max(pause, asked) / 1000));
    // Jitter: all pages of a restarted server come back, but not at once.
    await sleep(Math.max(pause * (0.75 + Math.random() / 2), Math.min(asked, 60_000)), signal);
  }
}

/** Remembers where the run is; true for an event that was delivered before. */
function isRepeated(id, seen) {
  const match = /^(.*):(\d{1,9})$/.exec(id);
  if (!match) {
    if (id) seen.id = id;
    return false;
  }
  const [, run, digits] = match;
  if (seen.run && run !== seen.run) {
    throw new UnreadableError("The server could not resume this run, and began another one.");
  }
  if (Number(digits) <= seen.position) return true;
  Object.assign(seen, { id, run, position: Number(digits) });
  return false;
}

function dataOf(event) {
  try {
    const data = JSON.parse(event.data);
    if (data !== null && typeof data === "object") return data;
  } catch {
    // told below, as for JSON that is no object
  }
  throw new UnreadableError("The server sent an event that cannot be read.");
}

async function* connect(client, path, json, lastId, signal) {
  // A silent connection is ended by its own signal: the caller's means that the reader wants no more.
  const connection = new AbortController();
  const end = () => connection.abort();
  signal.addEventListener("abort", end, { once: true });
  let timer;
  const listen = () => {
    clearTimeout(timer);
    timer = setTimeout(end, SILENCE_MS);
  };
  try {
    signal.throwIfAborted();
    listen();
    const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
    const response = await client.send(path, { method: "POST", json, headers, signal: connection.signal });
    if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
      throw new UnreadableError("The server did not send a stream of events.");
    }
    const parser = new EventParser();
    // Not through a TextDecoderStream: when a connection breaks, a pipe throws away what has arrived and was not read.
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      listen();
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } catch (error) {
    if (signal.aborted) throw error;
    if ([ProblemError, UnreadableError].some((kind) => error instanceof kind)) throw error;
    throw new ConnectionError("The connection broke before the answer was complete.");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    connection.abort(); // whoever stops reading early closes the connection
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
