//! What a sliced file says about itself: G-code headers and footers, 3MF archives, thumbnails.
