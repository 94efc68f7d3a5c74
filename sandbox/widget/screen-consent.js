import { h, icon, mark } from './dom.js';
import { nameField } from './fields.js';

/**
 * What an OAuth provider would ask: which account, what will be shared, allow or deny.
 * Calls `onAllow({ name })` and `onDeny()`. The accounts are made up: which one is chosen changes nothing.
 */
export function consentScreen({ integration, options, identity, onAllow, onDeny }) {
  const app = options.companyName ?? 'This application';
  const name = nameField(options);
  const allow = h('button', { class: 'button primary', type: 'submit' }, 'Allow');
  const node = h(
    'form',
    {
      class: 'form',
      onsubmit: (event) => {
        event.preventDefault();
        allow.disabled = true;
        onAllow({ name: name?.value() || undefined });
      },
    },
    h(
      'div',
      { class: 'handshake' },
      mark(app, options.imageUrl, 'large'),
      h('span', { class: 'handshake-line', 'aria-hidden': 'true' }),
      mark(integration.name, integration.image, 'large'),
    ),
    h('h1', { id: 'heading' }, `Connect ${integration.name}`),
    h('p', { class: 'muted' }, `${app} wants to use your ${integration.name} account.`),
    h(
      'fieldset',
      { class: 'accounts' },
      h('legend', {}, 'Choose an account'),
      ...accounts(identity).map((account, index) =>
        h(
          'label',
          { class: 'account' },
          h('input', { type: 'radio', name: 'account', value: account.email, checked: index === 0 }),
          h('span', { class: 'avatar', 'aria-hidden': 'true' }, account.email[0].toUpperCase()),
          h('span', { class: 'tool-text' }, h('span', { class: 'tool-name' }, account.email), h('span', { class: 'tool-category' }, account.kind)),
          icon('check'),
        ),
      ),
    ),
    name?.node,
    h(
      'section',
      { class: 'scopes', 'aria-label': 'What will be shared' },
      h('h2', {}, 'This will allow it to'),
      h('ul', {}, ...scopes(integration).map((text) => h('li', {}, icon('check'), h('span', {}, text)))),
    ),
    h('div', { class: 'actions' }, h('button', { class: 'button', type: 'button', onclick: onDeny }, 'Deny'), allow),
  );
  return { node, focus: node.querySelector('[name=account]') };
}

function accounts(identity) {
  const local = (identity ?? '').toLowerCase().replace(/[^a-z0-9._-]+/g, '.').replace(/^\.+|\.+$/g, '') || 'you';
  return [
    { email: `${local}@example.com`, kind: 'Work account' },
    { email: `${local}@home.example`, kind: 'Personal account' },
  ];
}

function scopes(integration) {
  return [
    `Read and write your ${integration.name} data on your behalf`,
    'See your name and email address',
    'Keep this access until you disconnect it',
  ];
}
