const SVG = 'http://www.w3.org/2000/svg';

const ICONS = {
  alert: ['M12 8v5', 'M12 16.5v.01', 'M12 3 2.5 20h19z'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  copy: ['M9 9h11v11H9z', 'M5 15H4V4h11v1'],
  plug: ['M9 3v5', 'M15 3v5', 'M6 8h12v3a6 6 0 0 1-12 0z', 'M12 17v4'],
  plus: ['M12 5v14', 'M5 12h14'],
  send: ['M4 12l16-8-5 16-4-6z'],
  sync: ['M20 11a8 8 0 0 0-14.3-4L4 9', 'M4 4v5h5', 'M4 13a8 8 0 0 0 14.3 4l1.7-2', 'M20 20v-5h-5'],
};

/**
 * Builds an element: functions named `on…` become listeners, `false` and `undefined` are left out, `true` is an empty
 * attribute. Strings among the children become text nodes: data can never turn into markup.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** A line icon; decoration, so hidden from assistive technology. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** A tile with the platform's image when it is an http(s) URL that loads, else the name's first letter. */
export function mark(name, image) {
  const letter = h('span', {}, (name.trim()[0] ?? '?').toUpperCase());
  const tile = h('span', { class: 'mark', 'aria-hidden': 'true' }, letter);
  if (typeof image === 'string' && /^https?:\/\//i.test(image)) {
    tile.replaceChildren(h('img', { src: image, alt: '', referrerpolicy: 'no-referrer', onerror: () => tile.replaceChildren(letter) }));
  }
  return tile;
}

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** An ISO time as the reader writes it. */
export function moment(iso) {
  return TIME.format(new Date(iso));
}

/** A message that leaves by itself; `kind` is 'good' or 'bad'. */
export function toast(text, kind = 'good') {
  const item = h('div', { class: `toast toast-${kind}` }, icon(kind === 'good' ? 'check' : 'alert'), h('span', {}, text));
  document.getElementById('toasts').append(item);
  setTimeout(() => item.remove(), kind === 'good' ? 5000 : 9000);
}

/** Asks before something that cannot be taken back. Resolves with true on yes; Escape is no. */
export function confirm({ title, text, yes }) {
  const dialog = h(
    'dialog',
    { class: 'confirm', 'aria-labelledby': 'confirm-title' },
    h('h2', { id: 'confirm-title' }, title),
    h('p', {}, text),
    h(
      'div',
      { class: 'buttons' },
      h('button', { class: 'button', type: 'button', onclick: () => dialog.close('no') }, 'Cancel'),
      h('button', { class: 'button danger', type: 'button', onclick: () => dialog.close('yes') }, yes),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
  });
}
