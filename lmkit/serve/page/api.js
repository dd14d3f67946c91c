// Requests to the server that this page came from.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const KEY = "lmkit-token";

export const keep = (token) => sessionStorage.setItem(KEY, token);

function headers() {
  const token = sessionStorage.getItem(KEY);
  return { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
}

// The response to a request; Refused, with the status 0 for a server that does not answer.
async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw gone(error);
  }
  if (response.ok) return response;
  let message = `HTTP ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // The status says enough.
  }
  throw new Refused(message, response.status);
}

const gone = (error) => (error.name === "AbortError" ? error : new Refused(error.message, 0));

export async function get(path, signal) {
  return (await answered(path, { headers: headers(), signal })).json();
}

export async function post(path, body, signal) {
  const options = { method: "POST", headers: headers(), body: JSON.stringify(body), signal };
  return (await answered(path, options)).json();
}

// Call `take` with each event of a stream, until it ends.
export async function stream(path, body, take, signal) {
  const options = { method: "POST", headers: headers(), body: JSON.stringify({ ...body, stream: true }), signal };
  const response = await answered(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => Promise.reject(gone(error)));
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(event.error.message, 500);
      take(event);
    }
  }
}

// Only the answer to the last question counts: `ask` gives up the one before.
export class Latest {
  #controller = new AbortController();

  async ask(work) {
    this.stop();
    const controller = (this.#controller = new AbortController());
    try {
      return await work(controller.signal);
    } catch (error) {
      if (controller.signal.aborted) return undefined;
      throw error;
    }
  }

  stop() {
    this.#controller.abort();
  }
}
