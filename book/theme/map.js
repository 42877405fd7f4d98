// SPDX-License-Identifier: GPL-2.0 OR MIT

// The map of the callbacks: walks over the graph that scripts/lifecycle has enumerated, and that its tour has walked on a
// kernel. The page holds the graph as JSON; `#a,b,c` or the id of an element with `data-path` in its address is a way through it.
(() => {
    "use strict";
    const root = document.getElementById("klp-map");
    const data = document.getElementById("klp-map-data");
    if (!root || !data) return;
    const map = JSON.parse(data.textContent);
    const objects = ["vmlinux", "lifecycle_alpha", "lifecycle_beta"];
    const patches = ["lifecycle_plain", "lifecycle_cumulative"];
    const callback = /^lifecycle_\w+: (pre|post)_(un)?patch: /;
    let path = [];

    const make = (tag, text, ...parts) => {
        const element = document.createElement(tag);
        element.append(text ?? "", ...parts);
        return element;
    };
    const word = way => map.actions[way[0]][0];
    const command = way => map.actions[way[0]][1];
    // The states along the path, the first one with nothing loaded.
    const at = () => path.reduce((state, way) => way[1], 0);

    const take = words => {
        path = [];
        for (const wanted of words) {
            const way = map.ways[at()].find(way => word(way) === wanted);
            if (!way) break;
            path.push(way);
        }
    };

    // What an object is to a livepatch: null where it has it not.
    const cell = object => {
        if (!object) return "–";
        const [patched, keeps] = object;
        return (patched ? "patched" : "not patched") + (keeps ? ", state kept" : "");
    };

    const table = state => {
        const [targets, livepatches] = map.states[state];
        const head = make("tr", null, make("th", "object"), make("th", "loaded"), ...patches.map(name => make("th", name)));
        const rows = objects.map((name, nr) => make("tr", null, make("th", name),
            make("td", nr === 0 || targets[nr - 1] ? "yes" : "no"),
            ...livepatches.map(([, all]) => make("td", cell(all[nr])))));
        const last = make("tr", null, make("th", "livepatch"), make("td", ""), ...livepatches.map(([what]) => make("td", what)));
        for (const row of [...rows, last]) row.firstChild.scope = "row";
        return make("table", null, make("thead", null, head), make("tbody", null, ...rows, last));
    };

    const tasks = state => {
        const [, , parked, transition, answers] = map.states[state];
        const runs = answers.map((who, nr) => who && `A new call in ${objects[nr + 1]} runs ${who}.`);
        const all = [transition && `Transition: ${transition}, held up by the parked task.`,
            parked && `The parked task sleeps in ${parked}.`, ...runs].filter(text => text);
        return all.length ? all : ["No function of a target can be called."];
    };

    // What the last action did, in one sentence for who listens.
    const told = way => {
        if (!way) return "Nothing is loaded.";
        const [, , lines, errno, pinned] = way;
        const ran = lines.map(nr => map.lines[nr]).filter(line => callback.test(line));
        return [errno ? `Refused with ${errno}.` : "Done.",
            ran.length ? `Callbacks: ${ran.map(line => line.replace("lifecycle_", "")).join("; ")}.` : "No callback runs.",
            pinned === null ? "" : `The module of ${patches[pinned]} stays for ever; a copy of another name takes its place here.`,
        ].join(" ");
    };

    const log = way => {
        if (!way) return "";
        const lines = way[2].map(nr => {
            const line = make("span", `${map.lines[nr]}\n`);
            if (callback.test(map.lines[nr])) line.className = "callback";
            return line;
        });
        return make("pre", null, make("code", `% ${command(way)}\n`, ...lines));
    };

    const button = (text, act, name) => {
        const element = make("button", text);
        element.type = "button";
        if (name) element.dataset.word = name;
        element.addEventListener("click", () => {
            act();
            show(name);
        });
        return element;
    };

    // Draws all anew; the focus stays on the button of the same name, or on the first.
    const show = name => {
        const state = at();
        const last = path[path.length - 1];
        const words = path.map(word).join(",");
        root.dataset.state = state;
        const said = make("p", told(last));
        const choices = map.ways[state].map(way => button(command(way), () => path.push(way), word(way)));
        const group = make("div", null, ...choices);
        group.className = "actions";
        group.setAttribute("role", "group");
        group.setAttribute("aria-label", "What to do next");
        const back = button("Back", () => path.pop(), "back");
        const again = button("Start over", () => { path = []; }, "again");
        back.disabled = again.disabled = path.length === 0;
        const here = make("a", "a link to this way");
        here.href = `#${words}`;
        const way = make("ol", null, ...path.map(way => make("li", null, make("code", command(way)))));
        live.replaceChildren(said, ...tasks(state).map(text => make("p", text)));
        body.replaceChildren(make("p", `State ${state + 1} of ${map.states.length}.`), table(state), group,
            make("p", null, back, " ", again, " ", here), log(last), way);
        if (!name) return;
        (body.querySelector(`[data-word="${name}"]:enabled`) ?? body.querySelector("button")).focus();
        history.replaceState(null, "", words ? `#${words}` : location.pathname + location.search);
    };

    const follow = () => {
        const hash = decodeURIComponent(location.hash.slice(1));
        const way = document.getElementById(hash)?.dataset.path;
        take((way ?? hash).split(","));
        show();
        // The browser has gone to the line that names the way.
        if (way) root.scrollIntoView();
    };

    const live = make("div");
    live.setAttribute("aria-live", "polite");
    const body = make("div");
    root.replaceChildren(live, body);
    window.addEventListener("hashchange", follow);
    follow();
})();
