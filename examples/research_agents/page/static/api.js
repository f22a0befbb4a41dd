// The API as this page uses it. The caller is in a cookie that no script can read; a client holds the token that goes with it.

import { list, record, text } from "./dom.js";

const DETAILS = 5; // faults of a request that are shown; the rest says nothing new

/** A refusal or failure told as a problem document (RFC 9457). */
export class ProblemError extends Error {
  /**
   * @param {number} status the HTTP status
   * @param {object} problem the document; may be empty
   * @param {number|null} retryAfterSeconds how long the server asks to wait
   * @param {string} requestId what the answer calls its request, where the document does not say so
   */
  constructor(status, problem, retryAfterSeconds = null, requestId = "") {
    super(text(problem.detail) || text(problem.title) || `The server answered ${status}.`);
    this.name = "ProblemError";
    this.status = status;
    this.problem = problem;
    this.retryAfterSeconds = retryAfterSeconds;
    this.correlationId = text(problem.correlation_id) || requestId;
  }

  /** Whether the cookie belongs to another session than the token: somebody has logged in anew in another tab. */
  get isOfAnotherSession() {
    return this.status === 403 && text(this.problem.type).endsWith("/csrf-failed");
  }

  /** What was wrong with which field, where the problem says so. */
  get faults() {
    return list(this.problem.errors)
      .slice(0, DETAILS)
      .map(record)
      .map((fault) => {
        const place = text(fault.pointer).replace(/^#\/?/, "").replaceAll("/", ".");
        const message = text(fault.message);
        return place && message ? `${place}: ${message}` : message;
      })
      .filter(Boolean);
  }
}

/** The server cannot be reached, or the connection broke. */
export class ConnectionError extends Error {
  constructor(message) {
    super(message);
    this.name = "ConnectionError";
  }
}

/** An error in words: what is wrong, with which field, and under which id the server's log knows it. */
export function inWords(error) {
  const request = text(error.correlationId);
  return [error.message, ...list(error.faults), request && `(Request ${request})`].filter(Boolean).join(" ");
}

/** Whether a text can be sent as a key: printable ASCII without spaces. */
export const isKey = (value) => /^[\x21-\x7e]{1,512}$/.test(value);

/**
 * Send a request, with the cookie of the session if there is one, and wait for the head of the answer, whatever it is.
 *
 * @param {string} path relative to the page
 * @param {{method?: string, json?: object, headers?: object, signal?: AbortSignal}} options
 */
export async function request(path, { method = "GET", json, headers = {}, signal } = {}) {
  try {
    return await fetch(new URL(path, document.baseURI), {
      method,
      headers: { ...(json === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: json === undefined ? undefined : JSON.stringify(json),
      signal,
      credentials: "same-origin",
      redirect: "error",
      cache: "no-store",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ConnectionError("The server could not be reached.");
  }
}

/** The error that an answer other than success is. */
export async function refusalOf(response) {
  const requestId = response.headers.get("X-Request-ID") ?? "";
  return new ProblemError(response.status, await problemIn(response), retryAfter(response.headers), requestId);
}

/** The JSON of an answer, null for an empty one. */
export async function contentOf(response, signal) {
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ConnectionError("The answer of the server could not be read.");
  }
}

/**
 * A client for the session that is open.
 *
 * @param {string} token what shows that a request comes from this page; sent with whatever changes something
 * @param {{onLimits?: (limits: object[]) => void, onRefused?: (error: ProblemError) => void}} listeners `onLimits` is told
 *   the rate limits of an answer; `onRefused` that the session is over, or another one than the page knows.
 */
export function createClient(token, { onLimits, onRefused } = {}) {
  async function send(path, options = {}) {
    const proof = (options.method ?? "GET") === "GET" ? {} : { "X-CSRF-Token": token };
    const response = await request(path, { ...options, headers: { ...options.headers, ...proof } });
    const limits = rateLimits(response.headers);
    if (limits.length) onLimits?.(limits);
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    if (response.status === 401 || refusal.isOfAnotherSession) onRefused?.(refusal);
    throw refusal;
  }

  /** Send a request; the JSON of the answer, null for an empty one. */
  const call = async (path, options = {}) => contentOf(await send(path, options), options.signal);

  return { send, call };
}

async function problemIn(response) {
  try {
    return record(await response.json());
  } catch {
    return {}; // e.g. the HTML of a proxy; the status says enough
  }
}

function retryAfter(headers) {
  const value = headers.get("Retry-After");
  return value !== null && /^\d{1,6}$/.test(value) ? Number(value) : null;
}

/**
 * What `RateLimit` and `RateLimit-Policy` say: [{name, left, limit, seconds}], with null for what is not said.
 * Source: draft-ietf-httpapi-ratelimit-headers-11, 3 and 4.
 */
export function rateLimits(headers) {
  const quotas = new Map(items(headers.get("RateLimit-Policy")).map((item) => [item.name, item.parameters.q]));
  return items(headers.get("RateLimit"))
    .filter((item) => item.parameters.r !== undefined)
    .map(({ name, parameters }) => ({
      name,
      left: parameters.r,
      limit: quotas.get(name) ?? null,
      seconds: parameters.t ?? null,
    }));
}

function items(header) {
  const found = [];
  for (const [, name, rest] of (header ?? "").matchAll(/"((?:[^"\\]|\\.)*)"((?:\s*;\s*[a-z*][\w*.-]*=[^;,"]*)*)/g)) {
    const parameters = {};
    for (const [, parameter, value] of rest.matchAll(/;\s*([a-z*][\w*.-]*)=(\d{1,15})/g)) {
      parameters[parameter] = Number(value);
    }
    found.push({ name: name.replace(/\\(.)/g, "$1"), parameters });
  }
  return found;
}
