// SPDX-License-Identifier: GPL-2.0 OR MIT
// What the tests ask of a page; it is there before the page's own scripts run.

'use strict';

window.klpTest = (() => {
    const all = (selector, from = document) => [...from.querySelectorAll(selector)];

    const luminance = colour => {
        const [r, g, b] = colour.match(/[\d.]+/g).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (colour, ground) => {
        const [low, high] = [luminance(colour), luminance(ground)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };

    const least = (elements, ground) => elements.length
        ? Math.min(...elements.map(e => contrast(getComputedStyle(e).fill, ground))) : 0;

    const emptyListings = () => all('main pre code')
        .flatMap((code, nr) => code.textContent.trim() === '' ? [`listing ${nr + 1} is empty`] : []);

    const missing = () => Object.entries({
        'folded sections': all('#mdbook-sidebar li:not(.expanded) > ol.section').length,
        'the print page': all('a[href$="print.html"]').length,
        'the choice of a theme': all('#mdbook-theme-navy').length,
        'copy buttons': all('main pre .clip-button').length
            && all('main pre .clip-button').length === all('main pre > code').length,
    }).flatMap(([what, there]) => there ? [] : [`missing: ${what}`]);

    // WCAG 2.2 asks of text for a contrast of 4.5 to 1 (1.4.3), of marks for 3 to 1 (1.4.11).
    const unreadable = () => all('svg.klp-timeline').flatMap(svg => {
        const ground = getComputedStyle(document.documentElement).backgroundColor;
        const box = svg.getBoundingClientRect();
        const words = all('text', svg);
        const text = least(words, ground), marks = least(all('circle, rect', svg), ground);
        const cut = words.filter(word => word.getBoundingClientRect().right > box.right + 1).length;
        return [
            [box.width < 200 || box.height < 100, `${box.width} by ${box.height}`],
            [text < 4.5, `contrast of text ${text.toFixed(1)}`],
            [marks < 3, `contrast of marks ${marks.toFixed(1)}`],
            [cut > 0, `${cut} texts are cut off`],
        ].flatMap(([wrong, what]) => wrong ? [what] : []);
    });

    // Pictures that do not tell in words of each callback that they show.
    const untold = () => all('svg.klp-timeline').flatMap(svg => {
        const title = svg.querySelector('title')?.textContent ?? '';
        const words = svg.querySelector('desc')?.textContent ?? '';
        const told = words.match(/\. (pre|post)_(un)?patch of /g)?.length ?? 0;
        const shown = all('circle', svg).length;
        const right = svg.getAttribute('role') === 'img' && title !== '' && told === shown;
        return right ? [] : [`\`${title}\` shows ${shown} callbacks and tells of ${told}`];
    });

    // How far the page reaches to the right, but for what can be scrolled by itself. Neither the document nor the window tells:
    // the chapter scrolls within both, and on a telephone the window's inner width grows with the document.
    const reach = () => {
        const main = document.querySelector('main');
        const within = main.getBoundingClientRect().left + main.scrollWidth;
        return Math.max(document.documentElement.scrollWidth, Math.round(within));
    };

    const overflow = width => {
        const out = all('main *').find(e => e.getBoundingClientRect().right > width && !e.closest('pre, table'));
        return reach() > width ? [`${reach()} pixels wide: ${out?.tagName} ${out?.textContent.trim().slice(0, 40)}`] : [];
    };

    // The least contrast of a button's text with its ground.
    const buttons = () => Math.min(...all('#klp-map button:enabled').map(button => {
        const style = getComputedStyle(button);
        return contrast(style.color, style.backgroundColor);
    }));

    let map, came;

    // Finds the shortest way to each state of the map; how many there are.
    const states = () => {
        map = JSON.parse(document.getElementById('klp-map-data').textContent);
        came = [[]];
        for (const queue = [0]; queue.length;) {
            const at = queue.shift();
            for (const way of map.ways[at]) {
                if (came[way[1]]) continue;
                came[way[1]] = [...came[at], way];
                queue.push(way[1]);
            }
        }
        return map.states.length;
    };

    // Goes to a state, takes each edge from there and comes back, all by clicking.
    const walk = (state, width) => {
        const root = document.getElementById('klp-map');
        const complaints = [];
        const press = name => root.querySelector(`button[data-word="${name}"]`)?.click();
        const take = way => {
            const name = map.actions[way[0]][0];
            press(name);
            const logged = all('pre span', root).map(line => line.textContent.trim());
            const right = way[2].map(nr => map.lines[nr]).join() === logged.join();
            if (Number(root.dataset.state) !== way[1] || !right) complaints.push(`${state}: ${name}`);
            if (reach() > width) complaints.push(`${state}: ${name}: ${reach()} pixels wide`);
        };
        press('again');
        came[state].forEach(take);
        for (const way of map.ways[state]) {
            take(way);
            press('back');
        }
        return {edges: map.ways[state].length, complaints};
    };

    return {emptyListings, missing, unreadable, untold, overflow, buttons, states, walk};
})();
