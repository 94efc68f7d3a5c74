import { h, icon, mark } from './dom.js';

const PAGE_STEP = 6;

/**
 * The list of tools: a search field that drives a listbox below it (arrow keys move, Enter picks, the focus stays in the
 * field) and, when the token names categories, a row of filters. Calls `onPick(integration)`.
 */
export function listScreen({ integrations, options, announce, onPick }) {
  let shown = integrations;
  let active = -1;
  let category;

  const list = h('ul', { class: 'tools', id: 'tools', role: 'listbox', 'aria-label': 'Tools' });
  const search = h('input', {
    class: 'field',
    type: 'text',
    inputmode: 'search',
    enterkeyhint: 'go',
    placeholder: `Search ${integrations.length} tools`,
    autocomplete: 'off',
    spellcheck: 'false',
    role: 'combobox',
    'aria-label': 'Search tools',
    'aria-expanded': 'true',
    'aria-controls': 'tools',
    'aria-autocomplete': 'list',
    oninput: () => refresh(search.value.trim() === '' ? -1 : 0),
    onkeydown: onKey,
  });

  function refresh(next) {
    shown = matching(integrations, search.value, category);
    list.replaceChildren(...(shown.length > 0 ? shown.map(row) : [nothingFound()]));
    activate(Math.min(next, shown.length - 1));
    announce(shown.length === 1 ? '1 tool' : `${shown.length} tools`);
  }

  function row(integration, index) {
    return h(
      'li',
      { class: 'tool', id: `tool-${index}`, role: 'option', 'aria-selected': 'false', 'data-platform': integration.platform, onclick: () => onPick(integration) },
      mark(integration.name, integration.image),
      h('span', { class: 'tool-text' }, h('span', { class: 'tool-name' }, integration.name), integration.category && h('span', { class: 'tool-category' }, integration.category)),
      icon('chevron'),
    );
  }

  function nothingFound() {
    const text = search.value.trim() ? `No tool matches “${search.value.trim()}”.` : 'No tool is switched on for this application yet.';
    return h('li', { class: 'nothing', role: 'presentation' }, h('strong', {}, 'Nothing here'), h('span', {}, text));
  }

  function activate(index) {
    list.children[active]?.setAttribute('aria-selected', 'false');
    active = index;
    const row = index >= 0 && shown.length > 0 ? list.children[index] : undefined;
    if (!row) return search.removeAttribute('aria-activedescendant');
    row.setAttribute('aria-selected', 'true');
    row.scrollIntoView({ block: 'nearest' });
    search.setAttribute('aria-activedescendant', row.id);
  }

  function onKey(event) {
    const last = shown.length - 1;
    const moves = {
      ArrowDown: () => activate(active >= last ? 0 : active + 1),
      ArrowUp: () => activate(active <= 0 ? last : active - 1),
      PageDown: () => activate(Math.min(active + PAGE_STEP, last)),
      PageUp: () => activate(Math.max(active - PAGE_STEP, 0)),
      Enter: () => shown[active] && onPick(shown[active]),
    };
    if (!Object.hasOwn(moves, event.key) || last < 0) return;
    event.preventDefault();
    moves[event.key]();
  }

  const filters = categoryFilters(integrations, (chosen) => {
    category = chosen;
    list.scrollTop = 0;
    refresh(-1);
  });
  const node = h(
    'div',
    { class: 'list-screen' },
    h(
      'header',
      { class: 'list-head' },
      options.imageUrl && mark(options.companyName ?? options.title ?? '', options.imageUrl, 'large'),
      h('h1', { id: 'heading' }, options.title ?? 'Connect a tool'),
      h('p', { class: 'muted' }, `Choose what ${options.companyName ?? 'this application'} may work with.`),
    ),
    h('div', { class: 'search' }, icon('search'), search),
    filters,
    list,
  );
  refresh(-1);
  return { node, focus: search };
}

/** Tools whose name, id or category contains every word; those whose name begins with the text come first. */
function matching(integrations, text, category) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const begins = (item) => (words.length > 0 && item.name.toLowerCase().startsWith(words[0]) ? 0 : 1);
  return integrations
    .filter((item) => category === undefined || item.category === category)
    .filter((item) => {
      const haystack = `${item.name} ${item.platform} ${item.category ?? ''}`.toLowerCase();
      return words.every((word) => haystack.includes(word));
    })
    .sort((a, b) => begins(a) - begins(b));
}

function categoryFilters(integrations, onChange) {
  const categories = [...new Set(integrations.map((item) => item.category).filter(Boolean))].sort();
  if (categories.length < 2) return undefined;
  const chip = (label, value, checked) =>
    h(
      'label',
      { class: 'chip' },
      h('input', { type: 'radio', name: 'category', checked, onchange: (event) => (event.target.closest('label').scrollIntoView({ block: 'nearest', inline: 'nearest' }), onChange(value)) }),
      h('span', {}, label),
    );
  return h('div', { class: 'chips', role: 'radiogroup', 'aria-label': 'Category' }, chip('All', undefined, true), ...categories.map((name) => chip(name, name)));
}
