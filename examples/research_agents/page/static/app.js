// The page: logging in with a key, being recognised after a reload, and what happens when the session is over.

import { createClient, inWords, isKey } from "./api.js";
import { createChat } from "./chat.js";
import { byId, list, record, text } from "./dom.js";
import { createPanels, showLimits } from "./panels.js";
import { amongTabs, currentSession, logIn, logOut } from "./session.js";

const PATIENCE_MS = 2000; // with the end of a run, before one is logged out all the same

let session = null;
let client = null;

const chat = createChat(() => client, { onFinished: () => client && panels.refresh() });
const panels = createPanels(() => client, { onOpen: chat.open, current: chat.sessionId });
const tellTabs = amongTabs(() => resume());

byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("key");
  const key = field.value.trim();
  if (!isKey(key)) {
    refuse(key ? "That is no API key: a key has no spaces and no special letters." : "Enter a key first.");
    return;
  }
  const button = event.currentTarget.querySelector("button");
  button.disabled = true;
  field.value = ""; // also when it is not accepted: it may be nearly right
  try {
    const opened = await logIn(key);
    tellTabs();
    await enter(opened);
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
});

byId("leave").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  const mine = client;
  button.disabled = true;
  byId("leave-fault").textContent = "";
  client = null; // nothing is asked any more, and what is still answered is not shown
  chat.begin("");
  try {
    // A run under way is charged until it is cancelled, and afterwards nobody may do that.
    await Promise.race([chat.settled(), new Promise((done) => setTimeout(done, PATIENCE_MS))]);
    await logOut(session);
    tellTabs();
    leave("");
  } catch (error) {
    client = mine;
    if (error.isOfAnotherSession) await resume();
    else byId("leave-fault").textContent = `You are still logged in. ${inWords(error)}`;
  } finally {
    button.disabled = false;
  }
});

resume();

/** Go on with the session that the browser is in, or ask for the key. */
async function resume() {
  if (session) leave("");
  try {
    const found = await currentSession();
    if (found) await enter(found);
  } catch (error) {
    fail(error);
  }
}

async function enter(opened) {
  // From here on one can log out, whatever fails next.
  session = opened;
  byId("caller").textContent = text(opened.principal);
  byId("account").hidden = false;
  // Only a client in use may speak for the page: answers to an earlier session come late.
  const mine = createClient(opened.csrf_token, {
    onLimits: (limits) => mine === client && showLimits(limits),
    onRefused: (error) => {
      if (mine !== client) return;
      if (error.isOfAnotherSession) resume();
      else leave("Your session is over. Enter the key again, or another one.");
    },
  });
  const agents = list(record(await mine.call("v1/agents")).agents).map(record).filter((agent) => text(agent.id));
  if (session !== opened) return; // ended, or replaced, meanwhile
  if (!agents.length) throw new Error("The server knows no agents.");
  client = mine;
  refuse("");
  chat.showAgents(agents);
  chat.begin("");
  show(true);
  panels.refresh();
  byId("message").focus();
}

function leave(reason) {
  session = null;
  client = null;
  chat.begin("");
  panels.clear();
  byId("ask").reset();
  byId("caller").textContent = "";
  byId("leave-fault").textContent = "";
  show(false);
  refuse(reason);
}

function fail(error) {
  if (error.status === 401) leave(words(error));
  else refuse(words(error));
}

function refuse(reason) {
  byId("key-fault").textContent = reason;
  byId("key").setAttribute("aria-invalid", String(Boolean(reason)));
  byId("key").focus();
}

function words(error) {
  if (error.status === 401) return "That key is not accepted.";
  if (error.status === 404) return "This server does not let pages log in: it has no web sessions.";
  return inWords(error);
}

function show(inside) {
  byId("entry").hidden = inside;
  byId("workbench").hidden = !inside;
  byId("account").hidden = !inside;
}
