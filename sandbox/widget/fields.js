import { h, icon } from './dom.js';

/**
 * A labelled input; one of type `password` gets a button that reveals it.
 * Returns `{ node, input, value(), complain(text) }`: `complain` shows a problem below the field, or clears it.
 */
export function field({ name, label, type = 'text', placeholder, optional = false }) {
  const id = `field-${name}`;
  const problem = h('p', { class: 'field-error', id: `${id}-problem`, role: 'alert', hidden: true });
  const input = h('input', {
    class: 'field',
    id,
    name,
    type,
    placeholder,
    autocomplete: 'off',
    spellcheck: 'false',
    maxlength: '500',
    'aria-describedby': problem.id,
    oninput: () => complain(undefined),
  });
  const caption = h('label', { for: id }, label, optional && h('span', { class: 'muted' }, ' (optional)'));
  const node = h('div', { class: 'labelled' }, caption, type === 'password' ? h('div', { class: 'with-reveal' }, input, revealButton(input)) : input, problem);

  function complain(text) {
    problem.textContent = text ?? '';
    problem.hidden = !text;
    input.setAttribute('aria-invalid', String(Boolean(text)));
  }

  return { node, input, complain, value: () => input.value.trim() };
}

/** The "name this connection" field: undefined unless the host asked for it with `showNameInput`. */
export function nameField(options) {
  if (!options.showNameInput) return undefined;
  return field({ name: 'name', label: 'Name', placeholder: 'e.g. Marketing', optional: true });
}

function revealButton(input) {
  const button = h('button', { class: 'icon-button reveal', type: 'button', 'aria-label': 'Show', 'aria-pressed': 'false' }, icon('eye'));
  button.addEventListener('click', () => {
    const reveal = input.type === 'password';
    input.type = reveal ? 'text' : 'password';
    button.setAttribute('aria-pressed', String(reveal));
  });
  return button;
}
