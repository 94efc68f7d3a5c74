const TIMEOUT_MS = 30_000;

/** A failure a person can read: `message` says what happened, `small` carries the status and the code. */
export class WidgetError extends Error {
  constructor(heading, message, small) {
    super(message);
    this.heading = heading;
    this.small = small;
  }
}

/**
 * Asks the host's own token endpoint, from this page's origin, with the headers the host passed in.
 * @returns {Promise<object>} the token, in one of the two shapes `integrationsOf` knows
 * @throws {WidgetError} when it cannot be reached, refuses, or answers something that is no token
 */
export async function fetchToken({ linkTokenEndpoint, linkHeaders }) {
  const response = await ask(linkTokenEndpoint, { ...linkHeaders, 'content-type': 'application/json' }, {});
  const body = await readJson(response);
  if (!response.ok) throw refusal('The tools could not be loaded', response, body);
  if (!listOf(body)) {
    throw new WidgetError('The tools could not be loaded', 'The token endpoint answered, but not with an AuthKit token.', `HTTP ${response.status}`);
  }
  return body;
}

/** The tools a token allows, whichever of the two shapes it has. */
export function integrationsOf(token) {
  return listOf(token)
    .filter((entry) => entry.active !== false)
    .map((entry) => ({
      platform: entry.platform ?? entry.type,
      name: entry.title ?? entry.name ?? entry.platform ?? entry.type,
      image: entry.image,
      category: entry.category,
      oauth: entry.oauth === true,
      form: Array.isArray(entry.form) ? entry.form : undefined,
    }))
    .filter((entry) => typeof entry.platform === 'string')
    .sort((a, b) => a.name.localeCompare(b.name));
}

/**
 * Stores the connection in the sandbox's vault; the token's proof says for whom.
 * @returns {Promise<object>} the connection record for the host
 * @throws {WidgetError} with the sandbox's own message when it refuses
 */
export async function connect(token, integration, { name, form }) {
  const proof = token.linkSettings?.eventIncToken ?? token.requestId;
  const body = { proof, platform: integration.platform, name, form };
  const response = await ask('/widget/connections', { 'content-type': 'application/json' }, body);
  const answer = await readJson(response);
  if (!response.ok) throw refusal(`${integration.name} was not connected`, response, answer);
  return answer;
}

function listOf(token) {
  const list = token?.linkSettings?.connectedPlatforms ?? token?.rows;
  return Array.isArray(list) ? list : undefined;
}

async function ask(url, headers, body) {
  try {
    return await fetch(url, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      credentials: 'omit',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    if (error.name === 'TimeoutError') throw new WidgetError('This takes too long', `No answer within ${TIMEOUT_MS / 1000} seconds.`, url);
    throw new WidgetError('No connection', 'The server could not be reached, or it does not allow this page to call it (CORS).', url);
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    return undefined;
  }
}

function refusal(heading, response, body) {
  const message = [body?.title, body?.detail ?? body?.message].filter((part) => typeof part === 'string').join(': ');
  const small = [`HTTP ${response.status}`, body?.code].filter(Boolean).join(' · ');
  return new WidgetError(heading, message || 'The server refused without saying why.', small);
}
