import { h, icon, moment, toast } from './dom.js';
import { responseView } from './response.js';

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];
const WITHOUT_BODY = new Set(['GET']);
const EXAMPLES = {
  gmail: 'gmail/v1/users/me/messages',
  'google-calendar': 'calendar/v3/calendars/primary/events',
  'google-drive': 'drive/v3/files',
  github: 'user/repos',
  hubspot: 'crm/v3/objects/contacts',
  notion: 'v1/users/me',
  openai: 'v1/models',
  slack: 'api/conversations.list',
  stripe: 'v1/customers',
};

/** The form that sends one request through the proxy, the same thing as a curl line, and the answer. */
export function requestPanel({ node, session }) {
  let connections = [];
  let running;

  const connection = h('select', { class: 'field', id: 'request-connection', onchange: () => useExample() });
  const method = h('select', { class: 'field', id: 'request-method', onchange: update }, ...METHODS.map((name) => h('option', {}, name)));
  const path = h('input', { class: 'field mono', id: 'request-path', required: true, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'none', oninput: update });
  const prefix = h('span', { class: 'prefix mono', 'aria-hidden': 'true' });
  const body = h('textarea', { class: 'field mono', id: 'request-body', rows: '4', spellcheck: 'false', placeholder: '{ "name": "value" }', oninput: update });
  const bodyField = labelled('request-body', 'Body (JSON)', body);
  const curl = h('code', {});
  const submit = h('button', { class: 'button primary', type: 'submit' }, icon('send'), 'Send');
  const stop = h('button', { class: 'button', type: 'button', hidden: true, onclick: () => running?.abort() }, 'Stop');
  const answer = h('div', { id: 'answer' });
  const form = h(
    'form',
    { class: 'request', onsubmit: send },
    labelled('request-connection', 'Connection', connection),
    h('div', { class: 'request-line' }, labelled('request-method', 'Method', method), h('div', { class: 'labelled grow' }, h('label', { for: 'request-path' }, 'Path'), h('div', { class: 'path' }, prefix, path))),
    bodyField,
    h('div', { class: 'curl' }, h('pre', { tabindex: '0', 'aria-label': 'The same request with curl' }, curl), h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Copy the curl command', onclick: copyCurl }, icon('copy'))),
    h('div', { class: 'buttons' }, submit, stop),
  );
  const empty = h('div', { class: 'empty' }, icon('send'), h('strong', {}, 'No connection to use'), h('p', {}, 'Connect a tool first; then its API is one call away.'));
  node.replaceChildren(empty);

  const chosen = () => connections.find((item) => item.connection.id === connection.value)?.connection;
  const target = () => `/proxy/${chosen().platform}/${path.value.trim().replace(/^\/+/, '')}`;
  const hasBody = () => !WITHOUT_BODY.has(method.value) && body.value.trim() !== '';

  function useExample() {
    path.value = EXAMPLES[chosen()?.platform] ?? 'me';
    method.value = 'GET';
    update();
  }

  async function update() {
    bodyField.hidden = WITHOUT_BODY.has(method.value);
    const current = chosen();
    if (!current) return;
    prefix.textContent = `/proxy/${current.platform}/`;
    curl.textContent = curlCommand(current, (await session().credentials()).key);
  }

  function curlCommand(current, key) {
    const lines = [`curl ${method.value === 'GET' ? '' : `-X ${method.value} `}${quote(location.origin + target())}`, `-H ${quote(`x-api-key: ${key.slice(0, 8)}…`)}`, `-H ${quote(`x-connection-id: ${current.id}`)}`];
    if (hasBody()) lines.push(`-H 'content-type: application/json'`, `-d ${quote(body.value.trim())}`);
    return lines.join(' \\\n  ');
  }

  async function copyCurl() {
    try {
      await navigator.clipboard.writeText(curl.textContent);
      toast('Copied. The key is masked: put your own in.');
    } catch {
      toast('The browser did not allow copying.', 'bad');
    }
  }

  async function send(event) {
    event.preventDefault();
    const current = chosen();
    if (!current || running) return;
    running = new AbortController();
    submit.disabled = true;
    stop.hidden = false;
    const view = responseView(answer);
    try {
      const started = performance.now();
      const json = hasBody() ? { headers: { 'content-type': 'application/json', 'x-connection-id': current.id }, body: body.value.trim() } : { headers: { 'x-connection-id': current.id } };
      const response = await session().fetch(target(), { method: method.value, signal: running.signal, ...json });
      await view.show(response, current.platform, started);
    } catch (error) {
      view.fail(error.name === 'AbortError' ? 'Stopped.' : error.message);
    } finally {
      running = undefined;
      submit.disabled = false;
      stop.hidden = true;
    }
  }

  return {
    /** `items` are `{ connection, title }`; keeps the chosen one when it is still there. */
    setConnections(items) {
      const before = connection.value;
      connections = items;
      connection.replaceChildren(...items.map((item) => h('option', { value: item.connection.id }, describe(item))));
      const kept = items.some((item) => item.connection.id === before);
      if (kept) connection.value = before;
      node.replaceChildren(...(items.length > 0 ? [form, answer] : [empty]));
      if (kept) update();
      else {
        running?.abort();
        answer.replaceChildren();
        useExample();
      }
    },

    /** Chooses a connection and takes the keyboard to the path. */
    choose({ id }) {
      connection.value = id;
      useExample();
      path.focus();
    },
  };
}

function labelled(id, label, control) {
  return h('div', { class: 'labelled' }, h('label', { for: id }, label), control);
}

// One identity may have several on a platform, made in the same minute: the end of the id tells those apart.
function describe({ connection, title }) {
  return `${connection.name ?? title} (${connection.environment}) · …${connection.id.slice(-4)} · ${moment(connection.createdAt)}`;
}

function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
