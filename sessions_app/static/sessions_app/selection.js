// Keeps the focus where a person is who selects all that match, or clears that: what was pressed is hidden then.
'use strict';

document.addEventListener('DOMContentLoaded', () => {
    const moves = [
        ['div.actions span.question a', 'div.actions span.clear a'],
        ['div.actions span.clear a', '#action-toggle'],
    ];
    for (const [pressed, next] of moves) {
        for (const link of document.querySelectorAll(pressed)) {
            link.addEventListener('click', () => document.querySelector(next)?.focus());
            // It is told as a button, and a button answers to the space bar.
            link.addEventListener('keydown', event => {
                if (event.key === ' ') {
                    event.preventDefault();
                    link.click();
                }
            });
        }
    }
});
