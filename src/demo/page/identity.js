import { h } from './dom.js';

const SAMPLES = ['ada', 'grace', 'linus'];
const TYPES = ['user', 'team', 'organization', 'project'];
const STORE = 'authkit-demo-identity';

/** The identity last chosen in this tab, or the first sample. */
export function rememberedIdentity() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORE));
    if (typeof stored?.identity === 'string' && TYPES.includes(stored.identityType)) return stored;
  } catch {
    // Storage may be switched off; the samples do as well.
  }
  return { identity: SAMPLES[0], identityType: TYPES[0] };
}

/** The chooser: sample chips, a free text and the type. Calls `onChoose(identity, identityType)`. */
export function identityPicker({ identity, identityType, onChoose }) {
  const text = h('input', {
    class: 'field',
    id: 'identity-text',
    name: 'identity',
    value: identity,
    maxlength: '128',
    required: true,
    autocomplete: 'off',
    autocapitalize: 'none',
    spellcheck: 'false',
  });
  const type = h('select', { class: 'field', id: 'identity-type', onchange: submit }, ...TYPES.map((name) => h('option', { selected: name === identityType }, name)));
  const chips = SAMPLES.map((name) =>
    h('button', { class: 'chip', type: 'button', onclick: () => ((text.value = name), submit()) }, h('span', { class: 'avatar', 'aria-hidden': 'true' }, name[0].toUpperCase()), name),
  );
  const form = h(
    'form',
    { class: 'identity', onsubmit: submit },
    h('div', { class: 'chips', role: 'group', 'aria-label': 'Sample identities' }, ...chips),
    h('div', { class: 'labelled grow' }, h('label', { for: 'identity-text' }, 'Identity'), text),
    h('div', { class: 'labelled' }, h('label', { for: 'identity-type' }, 'Type'), type),
    h('button', { class: 'button', type: 'submit' }, 'Use'),
  );

  function submit(event) {
    event?.preventDefault();
    const chosen = text.value.trim();
    if (chosen === '') return text.focus();
    mark(chosen);
    remember({ identity: chosen, identityType: type.value });
    onChoose(chosen, type.value);
  }

  function mark(chosen) {
    for (const chip of chips) chip.setAttribute('aria-pressed', String(chip.lastChild.textContent === chosen));
  }

  mark(identity);
  return form;
}

function remember(choice) {
  try {
    sessionStorage.setItem(STORE, JSON.stringify(choice));
  } catch {
    // Not being remembered is all that happens.
  }
}
