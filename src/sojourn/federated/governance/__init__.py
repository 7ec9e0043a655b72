"""Who may ask what of a site: signed jobs, the site's consent, and a record of everything that was done."""
