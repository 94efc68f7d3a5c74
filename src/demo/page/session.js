const RENEW_BEFORE_MS = 60_000;

/** What the gateway said no to: its problem document (RFC 9457), with a `message` for people. */
export class ProblemError extends Error {
  constructor(status, problem) {
    super([problem?.title, problem?.detail].filter(Boolean).join(': ') || `HTTP ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/**
 * One identity, logged in: keeps its key in memory only and logs in again, once and silently, when a call answers 401.
 */
export class Session {
  #login;

  constructor(identity, identityType) {
    this.identity = identity;
    this.identityType = identityType;
  }

  /** The credentials of `POST /demo/login`; renewed when they are about to expire. */
  async credentials() {
    const current = await (this.#login ??= this.#logIn());
    if (Date.parse(current.expiresAt) - Date.now() > RENEW_BEFORE_MS) return current;
    return this.renew();
  }

  renew() {
    this.#login = this.#logIn();
    return this.#login;
  }

  /** `fetch` on the gateway, with the key. Any answer but a final 401 resolves. */
  async fetch(path, { headers, ...init } = {}) {
    const send = ({ key }) => fetch(path, { ...init, headers: { ...headers, 'x-api-key': key } });
    const response = await send(await this.credentials());
    if (response.status !== 401 || !response.headers.has('x-authkit-error')) return response;
    return send(await this.renew());
  }

  /** A call of the gateway's own routes: the parsed answer, or a ProblemError. */
  async call(method, path, body) {
    const json = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    return parse(await this.fetch(path, { method, ...json }));
  }

  /** Claims the connection that the widget reports, with the AuthKit session that the widget itself had. */
  async claim(record) {
    const send = ({ widgetHeaders }) => fetch('/connections', {
      method: 'POST', headers: { ...widgetHeaders, 'content-type': 'application/json' }, body: JSON.stringify(record),
    });
    const response = await send(await this.credentials());
    return parse(response.status === 401 ? await send(await this.renew()) : response);
  }

  async #logIn() {
    const body = JSON.stringify({ identity: this.identity, identityType: this.identityType });
    try {
      return await parse(await fetch('/demo/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body }));
    } catch (error) {
      this.#login = undefined;
      throw error;
    }
  }
}

async function parse(response) {
  const text = await response.text();
  const json = text === '' ? undefined : parseJson(text);
  if (!response.ok) throw new ProblemError(response.status, json);
  return json;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
