// Logging in and out. The key is an argument: it is sent once, and kept nowhere.

import { contentOf, refusalOf, request } from "./api.js";
import { record, text } from "./dom.js";

const PATH = "session";

/** The session that the browser is in, {principal, csrf_token, ...}, or null. */
export async function currentSession() {
  const response = await request(PATH);
  if (response.status === 401) return null;
  if (!response.ok) throw await refusalOf(response);
  const session = record(await contentOf(response));
  return text(session.csrf_token) ? session : null;
}

/** Open a session for the caller whose key this is. One that is open, in another tab say, ends for it. */
export async function logIn(key) {
  const headers = { Authorization: `Bearer ${key}` };
  let response = await request(PATH, { method: "POST", headers });
  if (response.status === 400 || response.status === 409) {
    // Two callers in one request: whoever enters a key wants to be the one with the key.
    const other = await currentSession();
    if (other) await logOut(other);
    response = await request(PATH, { method: "POST", headers });
  }
  if (!response.ok) throw await refusalOf(response);
  return record(await contentOf(response));
}

/** End *session*, for every tab and for a copy of its cookie. */
export async function logOut(session) {
  const response = await request(PATH, { method: "DELETE", headers: { "X-CSRF-Token": session.csrf_token } });
  if (response.ok) return;
  if (response.status !== 401) throw await refusalOf(response);
  // It has ended by itself; or whoever answered this does not know it, and another process of the server does.
  if (await currentSession()) throw new Error("The server did not find the session, and knows it all the same: try again.");
}

/**
 * Tells the other tabs that this one has logged in or out: they have the same cookie, and would show one caller and be another.
 *
 * @param {() => void} onChanged called when another tab has
 * @returns {() => void} to be called when this one has
 */
export function amongTabs(onChanged) {
  const channel = new BroadcastChannel("session");
  channel.addEventListener("message", () => onChanged());
  return () => channel.postMessage("changed");
}
