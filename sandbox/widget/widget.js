import { connect, fetchToken, integrationsOf } from './backend.js';
import { createDialog } from './dialog.js';
import { host } from './host.js';
import { applyTheme, readOptions } from './options.js';
import { consentScreen } from './screen-consent.js';
import { keyScreen } from './screen-key.js';
import { listScreen } from './screen-list.js';
import { loadingScreen, problemScreen, successScreen } from './screen-status.js';

const byId = (id) => document.getElementById(id);
const dialog = createDialog({ card: byId('card'), backdrop: byId('backdrop'), live: byId('live'), onExit: host.exit });
const close = { label: 'Close', onclick: dialog.exit };

let options;
let token;
let integrations = [];

start();

async function start() {
  dialog.show({ name: 'loading', ...loadingScreen(), announce: 'Loading your tools' });
  options = await readOptions();
  applyTheme(options?.appTheme);
  if (options) return load();
  const text = 'This page is opened by an application, which tells it where to get a token.';
  showProblem({ heading: 'Nothing to connect to', message: text }, [close]);
}

async function load() {
  dialog.show({ name: 'loading', ...loadingScreen(), announce: 'Loading your tools' });
  try {
    token = await fetchToken(options);
  } catch (error) {
    return fail(error, load);
  }
  integrations = integrationsOf(token);
  const wanted = integrations.find((item) => item.name === options.selectedConnection);
  if (wanted) pick(wanted, { preselected: true });
  else showList();
}

function showList() {
  dialog.show({ name: 'list', ...listScreen({ integrations, options, announce: dialog.announce, onPick: pick }) });
}

/** The tool's own page. With `preselected`, the host named it, so there is no list to go back to. */
function pick(integration, { preselected = false } = {}) {
  const again = () => pick(integration, { preselected });
  const screen = integration.oauth ? consentScreen : keyScreen;
  const view = screen({
    integration,
    options,
    identity: token.identity,
    announce: dialog.announce,
    onAllow: (grant) => connect(token, integration, grant).then((record) => succeed(integration, record), (error) => fail(error, again)),
    onDeny: () => deny(integration, again),
    onSubmit: async (grant) => succeed(integration, await connect(token, integration, grant)),
  });
  dialog.show({ name: integration.oauth ? 'consent' : 'key', ...view, onBack: preselected ? undefined : showList });
}

function succeed(integration, record) {
  dialog.show({
    name: 'success',
    ...successScreen({ integration, options, record, onDone: dialog.exit }),
    announce: `${integration.name} is connected`,
  });
  host.success(record);
}

function deny(integration, again) {
  const message = `Access to ${integration.name} was denied.`;
  host.error(message);
  showProblem({ heading: 'Access denied', message: `${integration.name} was not connected.` }, [{ label: 'Try again', onclick: again }, close]);
}

function fail(error, again) {
  host.error([error.message, error.small].filter(Boolean).join(' — '));
  showProblem(error, [{ label: 'Try again', onclick: again }, close]);
}

function showProblem({ heading = 'Something went wrong', message, small }, actions) {
  dialog.show({ name: 'error', ...problemScreen({ heading, text: message, small, actions }) });
}
