import { h, mark } from './dom.js';
import { field, nameField } from './fields.js';

const API_KEY = [{ name: 'apiKey', label: 'API key', type: 'password', placeholder: 'Paste your key' }];

/**
 * The form for tools that are connected with a key instead of a sign-in. Calls `onSubmit({ form, name })`; when that rejects,
 * its message is shown at the field and the form can be sent again.
 */
export function keyScreen({ integration, options, announce, onSubmit }) {
  const fields = (integration.form?.length > 0 ? integration.form : API_KEY).map(field);
  const name = nameField(options);
  const submit = h('button', { class: 'button primary', type: 'submit' }, 'Connect');

  function refuse(target, message) {
    target.complain(message);
    target.input.focus();
    target.input.select();
  }

  async function send(event) {
    event.preventDefault();
    if (submit.disabled) return;
    const empty = fields.find((item) => item.value() === '');
    if (empty) return refuse(empty, 'This is needed to connect.');
    submit.disabled = true;
    announce(`Connecting ${integration.name}`);
    try {
      const form = Object.fromEntries(fields.map((item) => [item.input.name, item.value()]));
      await onSubmit({ form, name: name?.value() || undefined });
    } catch (error) {
      refuse(fields[0], error.message);
    } finally {
      submit.disabled = false;
    }
  }

  const node = h(
    'form',
    { class: 'form', novalidate: true, onsubmit: send },
    h('div', { class: 'handshake' }, mark(integration.name, integration.image, 'large')),
    h('h1', { id: 'heading' }, `Connect ${integration.name}`),
    h('p', { class: 'muted' }, `${integration.name} is connected with an API key instead of a sign-in.`),
    ...fields.map((item) => item.node),
    h('p', { class: 'muted small' }, 'In the sandbox any key works; one that contains “invalid” is refused.'),
    name?.node,
    h('div', { class: 'actions' }, submit),
  );
  return { node, focus: fields[0].input };
}
