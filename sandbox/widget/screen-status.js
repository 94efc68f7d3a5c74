import { h, icon, mark } from './dom.js';

/** Placeholder rows while the token is on its way. */
export function loadingScreen() {
  const line = (name) => h('span', { class: `bone ${name}` });
  const row = () => h('div', { class: 'bone-row' }, line('bone-mark'), h('span', { class: 'tool-text' }, line('bone-name'), line('bone-category')));
  const node = h(
    'div',
    { class: 'list-screen', 'aria-busy': 'true' },
    h('h1', { id: 'heading', class: 'visually-hidden' }, 'Loading your tools'),
    h('header', { class: 'list-head' }, line('bone-title'), line('bone-text')),
    line('bone-field'),
    h('div', { class: 'tools' }, ...Array.from({ length: 6 }, row)),
  );
  return { node };
}

/** Something went wrong: a heading, the reason in words, the small print (a status, a code) and what can be done now. */
export function problemScreen({ heading, text, small, actions }) {
  const buttons = actions.map(({ label, onclick }, index) =>
    h('button', { class: index === 0 ? 'button primary wide' : 'button wide', type: 'button', onclick }, label),
  );
  const node = h(
    'div',
    { class: 'status-screen', role: 'alert' },
    h('span', { class: 'badge badge-problem' }, icon('alert')),
    h('h1', { id: 'heading' }, heading),
    h('p', { class: 'muted' }, text),
    small && h('p', { class: 'small-print' }, small),
    h('div', { class: 'actions stacked' }, ...buttons),
  );
  return { node, focus: buttons[0] };
}

/** The tool is connected. */
export function successScreen({ integration, options, record, onDone }) {
  const done = h('button', { class: 'button primary wide', type: 'button', onclick: onDone }, 'Done');
  const node = h(
    'div',
    { class: 'status-screen' },
    h('span', { class: 'success-mark' }, mark(integration.name, integration.image, 'huge'), h('span', { class: 'badge badge-success' }, icon('check'))),
    h('h1', { id: 'heading' }, `${integration.name} is connected`),
    h('p', { class: 'muted' }, `${options.companyName ?? 'This application'} can use it now. You can disconnect it at any time.`),
    record.environment === 'test' && h('p', { class: 'small-print' }, 'Test environment'),
    h('div', { class: 'actions stacked' }, done),
  );
  return { node, focus: done };
}
