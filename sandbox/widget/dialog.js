import { h, icon } from './dom.js';

const FOCUSABLE = 'a[href], button:not([disabled]), input:not([disabled]), [tabindex="0"]';
// The frame is hidden for its first 100 ms, and a hidden frame cannot hold the focus.
const SHOWN_AFTER_MS = 160;

/**
 * The modal card: shows one screen at a time, keeps the focus inside, and leaves on Escape, the close button or a press on
 * the backdrop. `onExit` is called once, when it starts to leave.
 */
export function createDialog({ card, backdrop, live, onExit }) {
  let leaving = false;
  let target;

  function exit() {
    if (leaving) return;
    leaving = true;
    document.documentElement.dataset.leaving = '';
    onExit();
  }

  /** `node` holds an element with id `heading`; `focus` is what gets the focus; `onBack` adds a back button. */
  function show({ name, node, focus, onBack, announce }) {
    const bar = h(
      'div',
      { class: 'bar' },
      onBack && h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Back', onclick: onBack }, icon('back')),
      h('button', { class: 'icon-button bar-close', type: 'button', 'aria-label': 'Close', onclick: exit }, icon('close')),
    );
    card.dataset.screen = name;
    card.replaceChildren(bar, h('div', { class: 'screen' }, node), h('p', { class: 'foot' }, icon('lock'), 'Sandbox: no real account is used'));
    live.textContent = announce ?? '';
    target = focus ?? card;
    target.focus();
    setTimeout(takeFocus, SHOWN_AFTER_MS);
  }

  function takeFocus() {
    const { activeElement } = document;
    const held = document.hasFocus() && activeElement !== card && card.contains(activeElement);
    if (!held && !leaving) target?.focus();
  }

  function trap(event) {
    if (event.key === 'Escape') return exit();
    if (event.key !== 'Tab') return;
    const stops = [...card.querySelectorAll(FOCUSABLE)].filter((element) => element.tabIndex >= 0);
    const edge = event.shiftKey ? stops[0] : stops.at(-1);
    const outside = !card.contains(document.activeElement) || document.activeElement === card;
    if (document.activeElement !== edge && !outside) return;
    event.preventDefault();
    (event.shiftKey ? stops.at(-1) : stops[0])?.focus();
  }

  addEventListener('keydown', trap);
  addEventListener('focus', takeFocus);
  backdrop.addEventListener('pointerdown', (event) => event.target === backdrop && exit());

  return { show, exit, announce: (text) => (live.textContent = text) };
}
