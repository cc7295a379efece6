// Moves the focus when “Select all” or “Clear selection” is used, because Django hides the activated link.
'use strict';

document.addEventListener('DOMContentLoaded', () => {
    const moves = [
        ['div.actions span.question a', 'div.actions span.clear a'],
        ['div.actions span.clear a', '#action-toggle'],
    ];
    for (const [activated, next] of moves) {
        for (const link of document.querySelectorAll(activated)) {
            link.addEventListener('click', () => document.querySelector(next)?.focus());
            // The link has the role of a button, and the space bar activates buttons.
            link.addEventListener('keydown', event => {
                if (event.key === ' ') {
                    event.preventDefault();
                    link.click();
                }
            });
        }
    }
});
